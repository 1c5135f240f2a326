"""Every column of summary.csv and samples.csv, from made results."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pbsbatch.models.taxonomy import IN_DIFFERENTIAL
from pbsbatch.run.columns import COLUMNS, SAMPLE_COLUMNS, SECOND_COLUMNS
from pbsbatch.run.judge import REASONS
from pbsbatch.run.rows import sample_rows, slide_rows
from tests.run.results import field_of, measures_of, result_of

OUT = Path("out")
UNITS = ("_mm2", "_um")


def slide_row(result):
    (row,) = slide_rows([result], OUT, "smear", "openvino")
    return row


def test_a_whole_slide() -> None:
    row = slide_row(result_of())
    assert tuple(row) == COLUMNS
    assert all(row[name] for name in COLUMNS if name not in ("error", "qc_reasons"))
    expected = {
        "status": "ok", "qc_status": "pass", "roi_mm2": "10", "analysed_fraction": "1", "monolayer_mm2": "2.5",
        "n_rbc": "90000", "n_wbc": "204", "n_nrbc": "6", "n_platelet": "4003", "rbc_per_mm2": "10400",
        "wbc_per_mm2": "8", "platelet_per_mm2": "400", "n_wbc_diff": "204", "n_neutrophil": "120",
        "pct_neutrophil": "58.82", "pct_unsure": "1.96", "diff_status": "ok", "nrbc_per_100_wbc": "2.94",
        "rbc_diameter_um": "7.25", "rbc_diameter_cv_pct": "3.45", "store": "slides/a.zarr", "mpix_per_s": "20",
    }  # fmt: skip
    assert {name: row[name] for name in expected} == expected
    assert float(row["pct_neutrophil_lo"]) < 58.82 < float(row["pct_neutrophil_hi"])
    shares = [float(row[f"pct_{name}"]) for name in IN_DIFFERENTIAL]
    assert sum(shares) + float(row["pct_unsure"]) == pytest.approx(100, abs=0.05)  # unsure is not shared out


def test_abnormal_cells_are_unsure_and_no_white_cell_is_left_out() -> None:
    seen = {"RBC": {}, "WBC": {"lymphocyte": 10, "unsure": 2, "abnormal_suspect": 3, "": 4}, "Platelet": {}}
    row = slide_row(result_of(measures={"seen": seen}))
    assert (row["n_wbc"], row["n_wbc_diff"], row["pct_unsure"], row["n_nrbc"]) == ("19", "15", "33.33", "0")
    assert row["diff_status"] == "insufficient"
    assert "unsure_high" not in row["qc_reasons"]  # of fifteen cells nothing can be said


def test_without_types_what_needs_them_is_blank() -> None:
    seen = {"RBC": {"": 5}, "WBC": {"": 250}, "Platelet": {}}
    row = slide_row(result_of(measures={"seen": seen, "typed": False}))
    assert (row["n_wbc"], row["n_platelet"], row["n_rbc"]) == ("250", "0", "5")
    blank = [name for name in COLUMNS if name.startswith(("pct_", "n_nrbc", "n_wbc_diff", "diff", "nrbc", "n_lymph"))]
    assert len(blank) == 24
    assert all(row[name] == "" for name in blank)


def test_without_a_class_its_columns_are_blank() -> None:
    row = slide_row(result_of(measures={"seen": {"RBC": {"": 5}}, "framed": {"RBC": {"": 2}}, "typed": False}))
    assert row["n_rbc"] == "5"
    assert [row[n] for n in ("n_wbc", "n_platelet", "wbc_per_mm2", "platelet_per_mm2")] == [""] * 4


def test_an_estimated_scale_gives_no_unit_anywhere() -> None:
    row = slide_row(result_of(mpp_source="estimated"))
    assert all(row[name] == "" for name in COLUMNS if name.endswith(UNITS))
    assert [row["mpp"], row["rbc_diameter_cv_pct"]] == ["", ""]
    assert row["mpp_source"] == "estimated" and "scale_estimated" in row["qc_reasons"]
    assert row["n_rbc"] == "90000" and row["pct_lymphocyte"] == "29.41"


def test_too_few_red_cells_have_no_diameter_and_no_frame_no_density() -> None:
    row = slide_row(result_of(measures={"red_n": 29}))
    assert (row["rbc_diameter_um"], row["rbc_diameter_cv_pct"]) == ("", "")
    row = slide_row(result_of(measures={"frame_px": 0.0}))
    assert (row["rbc_per_mm2"], row["wbc_per_mm2"]) == ("", "")


def test_a_slide_that_failed_or_is_to_do_has_no_numbers() -> None:
    for status in ("failed", "pending"):
        row = slide_row(replace(result_of(), status=status, measures=None, roi_px=None, store=None, error="why"))
        filled = {name for name, value in row.items() if value}
        assert filled <= {
            "slide", "sample", "status", "error", "width_px", "height_px", "mpp", "mpp_source", "model", "engine",
            "version", "seconds", "mpix_per_s",
        }  # fmt: skip


def test_a_field_has_counts_and_no_percentages_unless_it_belongs_to_a_sample() -> None:
    alone = slide_row(field_of("a.png"))
    assert (alone["n_rbc"], alone["n_lymphocyte"], alone["n_wbc_diff"]) == ("26", "1", "1")
    assert not any(value for name, value in alone.items() if name.startswith(("pct_", "diff_", "nrbc_")))
    (itself,) = sample_rows([field_of("a.png")], "m", "e")
    assert itself["pct_lymphocyte"] == ""
    fields = [field_of(f"{k}.png", sample="patient") for k in range(3)]
    assert all(row["pct_lymphocyte"] == "" for row in slide_rows(fields, OUT, "m", "e"))
    (row,) = sample_rows(fields, "m", "e")
    assert tuple(row) == SAMPLE_COLUMNS
    assert (row["slides"], row["n_rbc"], row["n_wbc_diff"], row["pct_lymphocyte"]) == ("3", "78", "3", "100")
    assert (row["diff_status"], row["qc_reasons"]) == ("insufficient", "too_few_wbc;scale_estimated")


def test_a_sample_pools_cells_not_percentages() -> None:
    few = {"seen": {"RBC": {"": 10}, "WBC": {"lymphocyte": 10}, "Platelet": {}}}
    many = {"seen": {"RBC": {"": 10}, "WBC": {"neutrophil": 190}, "Platelet": {}}}
    slides = [result_of("a", sample="p", measures=few), result_of("b", sample="p", measures=many), result_of("c")]
    rows = sample_rows(slides, "m", "e")
    assert [row["sample"] for row in rows] == ["p", "c"]
    assert (rows[0]["pct_lymphocyte"], rows[0]["diff_status"], rows[0]["slides"]) == ("5", "ok", "2")
    assert (rows[0]["monolayer_mm2"], rows[0]["rbc_per_mm2"], rows[0]["rbc_diameter_um"]) == ("5", "10400", "7.25")
    assert "too_few_wbc" not in rows[0]["qc_reasons"]
    alone = slide_rows([slides[2]], OUT, "m", "e")[0]
    same = [name for name in SAMPLE_COLUMNS if name not in ("slides", "width_px", "height_px", "mpp", "store")]
    assert {name: rows[1][name] for name in same} == {name: alone[name] for name in same}


def test_a_sample_has_units_only_where_all_its_slides_have() -> None:
    slides = [result_of("a", sample="p"), result_of("b", sample="p", mpp_source="estimated")]
    (row,) = sample_rows(slides, "m", "e")
    assert row["mpp_source"] == "mixed"
    assert all(row[name] == "" for name in SAMPLE_COLUMNS if name.endswith(UNITS))
    assert row["n_rbc"] == "180000"


def test_a_sample_says_what_of_it_is_not_done() -> None:
    failed = replace(result_of("b", sample="p"), status="failed", measures=None)
    (row,) = sample_rows([result_of("a", sample="p"), failed], "m", "e")
    assert (row["status"], row["error"], row["n_rbc"]) == ("ok", "1 of 2 slides are not done", "90000")
    (row,) = sample_rows([failed], "m", "e")
    assert (row["status"], row["qc_status"], row["n_rbc"]) == ("failed", "", "")


def test_kept_slides_give_the_same_row_but_for_seconds() -> None:
    before = slide_row(result_of())
    after = slide_row(replace(result_of(measures=None), measures=measures_of(), seconds=0.0, resumed=True))
    different = {name for name in COLUMNS if before[name] != after[name]}
    assert different == {"seconds", "mpix_per_s"}


def test_the_page_of_columns_has_every_column_and_no_other() -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "columns.md").read_text(encoding="utf-8")
    table, _, after = text.partition("## Reasons")
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    assert [line.split("`")[1] for line in after.splitlines() if line.startswith("| `")] == list(REASONS)
    named = [name for row in rows for name in row.replace("`", "").replace(" ", "").split(",")]
    types = {name for name in COLUMNS if any(t in name for t in IN_DIFFERENTIAL)}
    plain = [name for name in COLUMNS if name not in types]
    assert [name for name in named if "<type>" not in name and name != "slides"] == [*plain, *SECOND_COLUMNS]
    forms = {name for name in named if "<type>" in name}
    assert {form.replace("<type>", t) for form in forms for t in IN_DIFFERENTIAL} == types
