"""Read labelled fields: VOC, YOLO and COCO for the detector, folders of classes for the classifier."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from pbsbatch.datasets.readers.coco import read_coco
from pbsbatch.datasets.readers.fields import DataSet
from pbsbatch.datasets.readers.folder import CellPicture, read_folders
from pbsbatch.datasets.readers.problems import DataError, Problem, Problems
from pbsbatch.datasets.readers.voc import read_voc
from pbsbatch.datasets.readers.yolo import read_yolo
from pbsbatch.datasets.samples import Sample, with_source_scale

__all__ = ["FORMATS", "CellPicture", "DataError", "DataSet", "Problem", "read", "read_folders"]

FORMATS: dict[str, Callable[[DataSet, Problems], list[Sample]]] = {
    "voc": read_voc,
    "yolo": read_yolo,
    "coco": read_coco,
}
"""Readers of labelled fields by the name of their format; "folder" is read by read_folders."""


def read(data: DataSet, *, skip_bad: bool = False) -> tuple[list[Sample], list[Problem]]:
    """Return a data set's samples, sorted by name, and what was put right or skipped.

    Raises DataError with the first problems of all fields, unless bad records are to be skipped.
    """
    reader = FORMATS.get(data.format)
    if reader is None:
        raise DataError(f"unknown format {data.format!r}", path=data.root, cure=f"Use one of {', '.join(FORMATS)}")
    problems = Problems()
    samples = with_source_scale(reader(data, problems))
    problems.judge(data.root, skip_bad=skip_bad)
    if not samples:
        raise DataError("no usable field", path=data.root, cure="See the problems listed")
    twice = [name for name, count in Counter(s.name for s in samples).items() if count > 1]
    if twice:
        raise DataError(f"{len(twice)} names stand for two fields, as {twice[0]!r}", path=data.root, cure="Rename them")
    scaleless = sorted({s.source for s in samples if not s.red_cell_px > 0})
    if scaleless:
        raise DataError(
            f"no red cell tells the scale of {', '.join(scaleless)}", path=data.root, cure="Give red_cell_px"
        )
    return samples, problems.found
