"""Names in messages: replaced however they are escaped; what nobody knows beforehand is left out."""

from __future__ import annotations

import json
import os
import traceback
import unicodedata
from pathlib import Path
from urllib.parse import quote

import pytest

from pbsbatch.run.deidentify import Scrubber, deidentified, frames_only
from pbsbatch.run.discovery import Discovery, Skipped, discover
from pbsbatch.run.events import RunFinished, RunStarted, SlideFinished, SlideResult, SlidesChanged, WorkerDied
from pbsbatch.run.keyfile import Key

KEY = Key(Path("/keys/k"), b"0123456789abcdef0123456789abcdef")
NAME = "Müller_Jürgen 1950-02-30"


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    root = tmp_path / "Ward Seven"
    (root / "Schmidt").mkdir(parents=True)
    for name in (f"{NAME}.tif", "Schmidt/a.tif", "Schmidt/JD.tif"):
        (root / name).write_bytes(b"II*\0")
    (root / "Weber_notes.txt").write_text("x")
    (root / "slides.csv").write_text("slide,sample,name\nSchmidt/a.tif,Patient Braun,Braun's slide\nKlein.tif,,\n")
    return root


@pytest.fixture
def hidden(archive: Path, tmp_path: Path) -> tuple[Discovery, Discovery, Scrubber]:
    found = discover([archive], output=tmp_path / "out", mpp=None)
    new, scrubber, _ = deidentified(found, KEY, [archive], tmp_path / "out")
    return found, new, scrubber


def test_ids_are_keyed_and_order_and_paths_stay(hidden: tuple[Discovery, Discovery, Scrubber]) -> None:
    found, new, _ = hidden
    assert [ref.path for ref in new.slides] == [ref.path for ref in found.slides]
    assert [ref.id for ref in new.slides] == [
        f"slide-{KEY.hashed('slide', found.relative[ref.id])[:16]}" for ref in found.slides
    ]
    assert all(ref.name == ref.id for ref in new.slides)
    samples = {ref.path.name: ref.sample for ref in new.slides}
    assert samples["a.tif"] == f"sample-{KEY.hashed('sample', 'Patient Braun')[:16]}"
    assert samples["JD.tif"] in {ref.id for ref in new.slides}
    assert new.relative == {}
    text = str([(ref.id, ref.name, ref.sample) for ref in new.slides]) + str(new.skipped) + str(new.warnings)
    for name in ("Müller", "Schmidt", "Weber", "Braun", "Klein", "Ward", "JD"):
        assert name not in text
    assert new.warnings  # that a row names no slide is still said
    assert [item.reason for item in new.skipped] == ["not a slide"]


def test_what_ids_stand_for_is_told(archive: Path, tmp_path: Path) -> None:
    found = discover([archive], output=tmp_path / "out", mpp=None)
    new, _, known = deidentified(found, KEY, [archive], tmp_path / "out")
    by_id = {row.id: row for row in known}
    for before, after in zip(found.slides, new.slides, strict=True):
        assert by_id[after.id].original == str(before.path)
        assert by_id[after.id].name == before.name
    assert {row.original for row in known if row.kind == "sample"} == {"Patient Braun"}
    assert {Path(row.original).name for row in known if row.kind == "file"} == {"Weber_notes.txt"}


WAYS = {
    "plain": str,
    "upper": str.upper,
    "nfd": lambda s: unicodedata.normalize("NFD", s),
    "ascii": ascii,
    "json": json.dumps,
    "percent": quote,
    "bytes": lambda s: repr(os.fsencode(s)),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_slides_names_are_replaced_however_they_are_written(
    hidden: tuple[Discovery, Discovery, Scrubber], way: str
) -> None:
    found, new, scrubber = hidden
    at = next(i for i, ref in enumerate(found.slides) if NAME in ref.name)
    for name in (str(found.slides[at].path), f"{NAME}.tif", NAME, found.slides[at].id):
        told = scrubber.text(f"cannot read {WAYS[way](name)}, level 0: a damaged tile", new.slides[at].id)
        assert "ller" not in told.lower()
        assert "1950" not in told
        assert "cannot read" in told
        assert "level 0: a damaged tile" in told
    assert scrubber.text(f"{NAME}.tif is damaged", new.slides[at].id) == f"{new.slides[at].id} is damaged"


def test_folders_inputs_and_unknown_paths_and_quotes_are_left_out(
    hidden: tuple[Discovery, Discovery, Scrubber], archive: Path
) -> None:
    _, new, scrubber = hidden
    slide = new.slides[0].id
    cases = {
        f"no {archive}/Schmidt/Index.dat there": "no [hidden] there",
        "the folder Schmidt is empty": "the folder [hidden] is empty",
        "no such file: /mnt/other/place.dat (2)": "no such file: [hidden] (2)",
        r"no C:\Users\Braun here": "no [hidden] here",
        "segmentation fault in f (pbsbatch/run/x.py:12)": "segmentation fault in f (pbsbatch/run/x.py:12)",
        "no /data/pbsbatch/run/x.py:12 here": "no [hidden] here",
        "the tag 'Vogel, Anna' is odd": "the tag [hidden] is odd",
        "libvips' reader says \"Vogel's tag\" is odd": "libvips' reader says [hidden] is odd",
        "cut off: 'Vogel, An": "cut off: [hidden]",
        "3 of 40 tiles could not be read": "3 of 40 tiles could not be read",
        "a slide of JD and a job": "a slide of [hidden] and a job",
    }
    for text, told in cases.items():
        by = new.slides[[ref.path.name for ref in new.slides].index("JD.tif")].id if "JD" in text else slide
        assert scrubber.text(text, by) == told.replace("[hidden] and a job", f"{by} and a job")


def test_an_unexpected_error_keeps_its_kind_and_lines_of_code() -> None:
    try:
        try:
            raise KeyError("Vogel")
        except KeyError as error:
            raise ValueError("Vogel\nVogel: again") from error
    except ValueError as error:
        text = "".join(traceback.format_exception(error))
    assert "Vogel" in text
    kept = frames_only(text)
    assert "Vogel" not in kept
    assert kept.count("test_deidentify.py:") == 2
    result = SlideResult("s", "s", Path("/a/b"), "s", "failed", "unexpected ValueError: Vogel (run.log ...)", text)
    scrubbed = Scrubber((), {}).result(result)
    assert scrubbed.error == "unexpected ValueError (run.log has the details)"
    assert scrubbed.details == kept


def test_events_are_scrubbed() -> None:
    scrubber = Scrubber(("vogel",), {"s": ("anna",)})
    result = SlideResult("s", "s", Path("/a"), "s", "failed", "Anna Vogel", failed_tiles=((3, "anna"),))
    told: list[object] = []
    listen = scrubber.listening(told.append)
    listen(RunStarted({}, 0, 1, "e", "m", notes=("Vogel",)))
    listen(SlideFinished(result))
    listen(SlidesChanged("the slide cannot be read: Vogel", ("s",)))
    listen(WorkerDied("Vogel"))
    listen(RunFinished((result,), 1.0, "stopped at /x/Vogel", False, {}, "nothing"))
    assert "vogel" not in str(told).lower()
    assert "anna" not in str(told).lower()
    assert "s [hidden]" in str(told)


def test_ids_that_would_clash_grow(tmp_path: Path) -> None:
    class Same(Key):
        def hashed(self, what: str, text: str) -> str:
            return "0" * 20 + super().hashed(what, text)[:44]

    for name in ("a.tif", "b.tif"):
        (tmp_path / name).write_bytes(b"II*\0")
    found = discover([tmp_path], output=None, mpp=None)
    new, _, _ = deidentified(found, Same(KEY.path, KEY.secret), [tmp_path], tmp_path / "out")
    assert len({ref.id for ref in new.slides}) == 2


def test_reasons_of_skipped_files_are_scrubbed(tmp_path: Path) -> None:
    found = Discovery((), (Skipped(tmp_path / "Weber.bin", "cannot be read: Weber.bin is odd"),))
    new, _, _ = deidentified(found, KEY, [tmp_path], tmp_path / "out")
    assert new.skipped[0].reason == "cannot be read: [hidden] is odd"
    assert "Weber" not in str(new.skipped[0].path)
