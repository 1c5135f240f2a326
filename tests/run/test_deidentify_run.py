"""Whole runs with --deidentify: no byte of the results holds a name, whatever went wrong."""

from __future__ import annotations

import base64
import json
import os
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tifffile
import zarr

from pbsbatch.config import Config
from pbsbatch.engines.base import Engine
from pbsbatch.errors import UsageError
from pbsbatch.models.base import Model
from pbsbatch.report import write_report
from pbsbatch.run import cluster
from pbsbatch.run.events import RunFinished
from pbsbatch.run.execute import execute
from pbsbatch.run.keyfile import read_names
from pbsbatch.run.manifest import renew
from pbsbatch.testing.oracle import FakeOracleEngine, load_fake_oracle
from tests.oracle import draw_cells, write_oracle_slide

STEMS = ("Müller_Jürgen_19500230", "O'Brien-Accession77", "=HYPERLINK_Vogel", "Zeile\nUmbruch", "Kaputt_Anna")
WORDS = ("Nguyen_Thi_Sample", "Spitzname Lange", "Ward Seventeen", "Second Archive", "Notizen_Weber", "Zitiert_Klein")
"""Samples, names and folders, and a file that is none; every one must be found nowhere."""
HOST = "Rechner-Station-Sieben"


class FailingEngine(FakeOracleEngine):
    """A fake that raises, on one colour, an error that quotes a patient; a library would do so."""

    def __call__(self, pixels):  # type: ignore[no-untyped-def]
        if (pixels == 7).all(axis=3).any():
            raise LookupError(f'Zitiert_Klein\n  File "/x/Zitiert_Klein.py"\nZitiert_Klein: {Path.cwd()}')
        return super().__call__(pixels)


def load_failing_engine(model: Model, asked: str) -> Engine:
    """Stand in for engines.load."""
    return FailingEngine()


LOADERS = cluster.Loaders(load_fake_oracle, load_failing_engine)


@pytest.fixture(scope="module", autouse=True)
def _host() -> Iterator[None]:
    """Give this machine a name that cannot be found by chance."""
    with pytest.MonkeyPatch.context() as patch:
        for module in ("output", "progress"):
            patch.setattr(f"pbsbatch.run.{module}.socket", SimpleNamespace(gethostname=lambda: HOST))
        yield


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    one = tmp_path_factory.mktemp("in") / "Ward Seventeen"
    two = tmp_path_factory.mktemp("in") / "Second Archive"
    (one / "deep").mkdir(parents=True)
    two.mkdir()
    for number, stem in enumerate(STEMS[:4]):
        folder = (one, one / "deep", two, one)[number]
        write_oracle_slide(folder / f"{stem}.tif", draw_cells(600, 500, 80, seed=number))
    (one / "Kaputt_Anna.svs").write_bytes(b"")
    tifffile.imwrite(
        two / "Zitiert_Klein.tif", np.full((400, 400, 3), 7, np.uint8), photometric="rgb", tile=(128, 128),
        resolution=(40000, 40000), resolutionunit="CENTIMETER",
    )  # fmt: skip
    corrupt(one / "Notizen_Weber_Kacheln.tif")
    (one / "Notizen_Weber.txt").write_text("x")
    rows = [f"{STEMS[0]}.tif,Nguyen_Thi_Sample,Spitzname Lange", "Zitiert_Klein_fehlt.tif,,"]
    (one / "slides.csv").write_text("\n".join(["slide,sample,name", *rows]))
    return one, two


def corrupt(path: Path) -> None:
    """Write a slide of which one tile in four cannot be decoded."""
    write_oracle_slide(path, draw_cells(900, 900, 100, seed=9))
    with tifffile.TiffFile(path) as tiff:
        offsets, counts = tiff.pages[0].dataoffsets, tiff.pages[0].databytecounts
    raw = bytearray(path.read_bytes())
    raw[offsets[0] : offsets[0] + counts[0]] = b"\xff" * counts[0]
    path.write_bytes(raw)


def settings(inputs: tuple[Path, Path], out: Path, key: Path, **more: object) -> Config:
    known = {"inputs": inputs, "output": out, "workers": 1, "core": 256, "max_failed_tiles": 0.5}
    return Config(**{**known, "deidentify": True, "key_file": key, **more})  # type: ignore[arg-type]


def needles(inputs: tuple[Path, Path]) -> set[bytes]:
    """Every way in which a name could have slipped in."""
    found = set[bytes]()
    texts = {*STEMS, *WORDS, "Umbruch", "Müller", "Vogel", "M_ller", "Brien", HOST}
    for text in texts | {unicodedata.normalize("NFD", text) for text in texts}:
        for raw in (
            text.encode(),
            text.encode("utf-16-le"),
            text.encode("utf-16-be"),
            text.encode("latin-1", "replace"),
        ):
            found |= {raw.lower(), base64.b64encode(raw).rstrip(b"=")[:-1].lower()}
        found |= {ascii(text)[1:-1].encode().lower(), json.dumps(text)[1:-1].encode().lower()}
    found |= {str(path.parent).encode().lower() for path in inputs}
    return found


def everything(out: Path) -> Iterator[tuple[str, bytes]]:
    """Yield all names and bytes below a folder, and the unpacked bytes of every array."""
    for path in sorted(out.rglob("*")):
        yield f"name of {path}", os.fsencode(path.relative_to(out))
        if path.is_file():
            yield str(path), path.read_bytes()
    for store in sorted((out / "slides").glob("*.zarr")):
        for name, item in zarr.open_group(store, mode="r").members(max_depth=None):
            if isinstance(item, zarr.Array):
                yield f"{store}/{name}", np.asarray(item[...]).tobytes()


def assert_no_name(out: Path, inputs: tuple[Path, Path]) -> None:
    hay = [(where, raw.lower()) for where, raw in everything(out)]
    for needle in needles(inputs):
        for where, raw in hay:
            assert needle not in raw, f"{needle!r} in {where}"


@pytest.fixture(scope="module")
def night(inputs: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, RunFinished]:
    base = tmp_path_factory.mktemp("night")
    finished = execute(settings(inputs, base / "out", base / "key"), lambda _: None, loaders=LOADERS)
    return base / "out", base / "key", finished


def test_the_run_went_wrong_in_every_way(night: tuple[Path, Path, RunFinished]) -> None:
    """Guard of the test itself: without failures it would prove nothing."""
    out, _, finished = night
    failed = {r.error for r in finished.results if r.status == "failed"}
    assert any("empty" in (error or "") for error in failed)
    assert any("unexpected LookupError" in (error or "") for error in failed)
    assert sum(r.status == "ok" for r in finished.results) == 5
    assert any(r.failed_tiles for r in finished.results)
    log = (out / "run.log").read_text()
    assert "test_deidentify_run.py:" in log  # where the unexpected error arose
    assert "note" not in log or "[hidden]" in log


def test_no_byte_of_the_results_holds_a_name(night: tuple[Path, Path, RunFinished], inputs: tuple[Path, Path]) -> None:
    out, _, finished = night
    write_report(out, {result.slide_id: result.path for result in finished.results})
    renew(out)
    assert_no_name(out, inputs)


def test_the_same_run_without_the_flag_is_full_of_names(inputs: tuple[Path, Path], tmp_path: Path) -> None:
    """Guard of the needles: they find names where there are some."""
    config = settings(inputs, tmp_path / "out", tmp_path, deidentify=False, key_file=None)
    execute(config, lambda _: None, loaders=LOADERS)
    hay = b"".join(raw for _, raw in everything(tmp_path / "out")).lower()
    found = {text for text in (*STEMS, *WORDS, HOST, "M_ller_J_rgen") if text.lower().encode() in hay}
    assert found >= {*STEMS[1:3], STEMS[4], *WORDS, HOST, "M_ller_J_rgen"}


def test_the_table_beside_the_key_leads_back(night: tuple[Path, Path, RunFinished], inputs: tuple[Path, Path]) -> None:
    out, key, finished = night
    table = {row.id: row for row in read_names(key)}
    for result in finished.results:
        assert table[result.slide_id].original == str(result.path)
        assert table[result.slide_id].results == str(out)
    assert {row.original for row in table.values() if row.kind == "sample"} == {"Nguyen_Thi_Sample"}


def test_a_resume_keeps_what_is_done_and_needs_the_same_key(
    night: tuple[Path, Path, RunFinished], inputs: tuple[Path, Path], tmp_path: Path
) -> None:
    out, key, finished = night
    again = execute(settings(inputs, out, key), lambda _: None, loaders=LOADERS)
    assert [r.slide_id for r in again.results] == [r.slide_id for r in finished.results]
    assert sum(r.resumed for r in again.results) == 5
    assert_no_name(out, inputs)
    before = {p: p.stat().st_mtime_ns for p in out.rglob("*")}
    for config, said in (
        (settings(inputs, out, tmp_path / "none"), "no key is there"),
        (settings(inputs, out, key, deidentify=False, key_file=None), "are de-identified"),
        (settings(inputs[:1], out, key), "other inputs"),
    ):
        with pytest.raises(UsageError, match=said) as caught:
            execute(config, lambda _: None, loaders=LOADERS)
        assert "--fresh" in str(caught.value)
    other = tmp_path / "other"
    other.write_text("f" * 64)
    other.chmod(0o600)
    with pytest.raises(UsageError, match="another key than"):
        execute(settings(inputs, out, other), lambda _: None, loaders=LOADERS)
    assert before == {p: p.stat().st_mtime_ns for p in out.rglob("*")}


def test_results_with_names_are_not_taken_over_but_by_fresh(inputs: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    execute(settings(inputs, out, tmp_path, deidentify=False, key_file=None), lambda _: None, loaders=LOADERS)
    with pytest.raises(UsageError, match="carry names"):
        execute(settings(inputs, out, tmp_path / "key"), lambda _: None, loaders=LOADERS)
    execute(settings(inputs, out, tmp_path / "key", fresh=True), lambda _: None, loaders=LOADERS)
    assert_no_name(out, inputs)
