"""Who scanned a slide, and when, from the fields that scanners write; nothing from what they do not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from pbsbatch.config import Config
from pbsbatch.results import RunSlide
from pbsbatch.slides import open_slide
from pbsbatch.slides.origin import NOBODY, Origin, from_aperio, from_openslide, from_tiff_tags
from tests.data import data
from tests.oracle import draw_cells, write_oracle_slide
from tests.run.inline import run_one


@pytest.mark.parametrize(("facts", "wanted"), [
    ({"aperio.ScanScope ID": "S1", "aperio.Date": "12/29/09", "aperio.Time": "09:59:15"},
     Origin("S1", "2009-12-29T09:59:15")),
    ({"mirax.GENERAL.SLIDE_CREATIONDATETIME": "05/06/2011 10:00:00"}, Origin("", "2011-06-05T10:00:00")),
    ({"leica.device-model": "L", "leica.creation-date": "2013-01-02T03:04:05.67Z"}, Origin("L", "2013-01-02T03:04:05")),
    ({"tiff.Make": "Hamamatsu", "tiff.Model": "C1", "tiff.DateTime": "2020:02:03 04:05:06"},
     Origin("Hamamatsu C1", "2020-02-03T04:05:06")),
    ({"dicom.ManufacturerModelName": "M", "dicom.AcquisitionDateTime": "20091229095915.123"},
     Origin("M", "2009-12-29T09:59:15")),
    ({"aperio.Date": "99/99/99", "aperio.User": "Dr. Who", "tiff.DateTime": "1066:10:14 09:00:00"}, NOBODY),
    ({}, NOBODY),
])  # fmt: skip
def test_each_scanner_s_own_form_is_understood(facts: dict[str, str], wanted: Origin) -> None:
    assert from_openslide(facts) == wanted


def test_what_a_file_says_is_bounded_and_stays_on_one_line() -> None:
    found = from_aperio("Aperio|ScanScope ID = a\nb" + "x" * 10_000 + "|Date = 1\x00|User = Dr. Who")
    assert len(found.scanner) == 80 and found.scanner.startswith("a\\nbx") and found.scanned == ""
    assert from_tiff_tags("", "", "") == NOBODY


def test_a_tiff_says_it_in_its_tags_and_a_run_keeps_it_unless_names_are_hidden(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    write_oracle_slide(path, draw_cells(300, 200, 10, seed=1))
    with tifffile.TiffFile(path) as file:
        pixels = file.pages[0].asarray()
    tifffile.imwrite(
        path, np.asarray(pixels), photometric="rgb", tile=(256, 256), compression="zlib", resolution=(40_000, 40_000),
        resolutionunit="CENTIMETER", datetime="2024:05:06 07:08:09", metadata=None,
        extratags=[(271, "s", 0, "Maker", True), (272, "s", 0, "Model 5", True)],
    )  # fmt: skip
    assert open_slide(path).origin == Origin("Maker Model 5", "2024-05-06T07:08:09")
    for hides, wanted in ((False, ("Maker Model 5", "2024-05-06T07:08:09")), (True, ("", ""))):
        result = run_one(path, tmp_path / f"out-{hides}", Config(deidentify=hides))
        assert result.store is not None
        slide = RunSlide("a", "a", {}, result.store)
        assert (slide.scanner, slide.scanned) == wanted
        assert hides != ("Model 5" in (result.store / "zarr.json").read_text())


@pytest.mark.parametrize("name", ["CMU-1-Small-Region.svs", "boxes_0.dcm"])
def test_real_files_tell_it(name: str) -> None:
    found = open_slide(data(f"slides/{name}")).origin
    assert found.scanned == "2009-12-29T09:59:15" and "CPAPERIOCS" in found.scanner
