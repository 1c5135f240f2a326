"""A run against manual counts: Bland and Altman, Passing and Bablok by their definitions, Ruemke's limits."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from pbsbatch.cli import app
from pbsbatch.errors import UsageError
from pbsbatch.evaluate.reference import agreements, passing_bablok


def write(folder: Path, run: str, manual: str) -> Path:
    (folder / "summary.csv").write_text(run)
    (folder / "manual.csv").write_text(manual)
    return folder / "manual.csv"


RUN = "slide,pct_neutrophil,rbc_per_mm2\na,61,5000\nb,40,\nc,30,7000\nd,1,1\n"
MANUAL = (
    "sample,pct_neutrophil,n_wbc_diff,rbc_per_mm2,colour\na,60,100,4900,x\nb,55,100,1,x\nc,31,200,7200,x\ne,5,100,1,x\n"
)


def test_bias_limits_and_share_within_ruemkes_limits(tmp_path: Path) -> None:
    (percent, density), notes = agreements(tmp_path, write(tmp_path, RUN, MANUAL))
    miss = np.array([1.0, -15.0, -1.0])
    assert percent.name == "pct_neutrophil" and percent.bias == pytest.approx(miss.mean())
    assert percent.high - percent.bias == pytest.approx(1.96 * miss.std(ddof=1))
    assert percent.within == pytest.approx(2 / 3)  # of 100 cells 55 % goes from 45 to 65
    assert len(density.run) == 2 and np.isnan(density.within) and np.isnan(density.slope)
    assert notes[0] == "the run knows no colour" and "first e" in notes[1] and "first d" in notes[2]


@pytest.mark.parametrize(("slope", "intercept"), [(1.0, 0.0), (1.3, -4.0), (0.7, 2.0)])
def test_a_straight_line_is_found_and_an_outlier_does_not_move_it(slope: float, intercept: float) -> None:
    x = np.arange(1.0, 21.0)
    y = slope * x + intercept
    y[7] += 100
    found = passing_bablok(x, y)
    assert found[0] == pytest.approx(slope) and found[3] == pytest.approx(intercept)
    assert found[1] <= found[0] <= found[2] and found[4] <= found[3] <= found[5]


def test_swapping_the_methods_inverts_the_line() -> None:
    """The law of Passing and Bablok: which method stands first does not matter."""
    rng = np.random.default_rng(0)
    x = rng.uniform(1, 50, 25)
    y = 1.2 * x + 3 + rng.normal(0, 2, 25)
    there, back = passing_bablok(x, y), passing_bablok(y, x)
    assert there[0] == pytest.approx(1 / back[0], rel=1e-6)
    assert there[1] == pytest.approx(1 / back[2], rel=1e-6) and there[2] == pytest.approx(1 / back[1], rel=1e-6)


def test_the_command_writes_tables_and_plots(tmp_path: Path) -> None:
    manual = write(tmp_path, RUN, MANUAL)
    ask = ["evaluate", str(tmp_path), "--reference", str(manual)]
    said = CliRunner().invoke(app, [*ask, "--as", "csv", "--plots", str(tmp_path / "plots")], catch_exceptions=False)
    rows = list(csv.DictReader(io.StringIO(said.output)))
    assert [r["name"] for r in rows] == ["pct_neutrophil", "rbc_per_mm2"] and rows[0]["within"] == "0.6667"
    assert len(list((tmp_path / "plots").glob("*.svg"))) == 2
    assert "the run knows no colour" in CliRunner().invoke(app, ask).output


def test_counts_that_cannot_be_meant_are_named(tmp_path: Path) -> None:
    for text, said in (
        ("sample,pct_neutrophil\nz,5\n", "share no sample: z was counted, a was run"),
        ("sample,colour\na,5\n", "no column of it is one of the run's: colour"),
        ("sample,pct_neutrophil\na,many\n", "pct_neutrophil of a cannot be meant"),
        ("sample,pct_neutrophil\na,500\n", "pct_neutrophil of a cannot be meant"),
        ("slide,pct_neutrophil\na,5\n", "no column sample"),
    ):
        with pytest.raises(UsageError, match=said) as caught:
            agreements(tmp_path, write(tmp_path, RUN, text))
        assert "manual.csv" in str(caught.value)
    with pytest.raises(UsageError, match="either --truth or --reference"):
        CliRunner().invoke(app, ["evaluate", str(tmp_path)], catch_exceptions=False)


def test_manual_counts_that_are_all_the_same_have_no_line() -> None:
    assert np.isnan(passing_bablok(np.full(9, 7.0), np.arange(9.0))).all()
