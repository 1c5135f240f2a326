"""Read labelled fields: VOC, YOLO, COCO, CVAT and label images; folders of classes for the classifier."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

from pbsbatch.datasets.readers.coco import read_coco
from pbsbatch.datasets.readers.cvat import read_cvat
from pbsbatch.datasets.readers.fields import DataSet, Field, Marked, sample_of
from pbsbatch.datasets.readers.folder import CellPicture, read_folders
from pbsbatch.datasets.readers.labels import read_labels
from pbsbatch.datasets.readers.problems import DataError, Problem, Problems
from pbsbatch.datasets.readers.recognise import recognise
from pbsbatch.datasets.readers.voc import read_voc
from pbsbatch.datasets.readers.vocabulary import Vocabulary
from pbsbatch.datasets.readers.yolo import read_yolo
from pbsbatch.datasets.samples import Sample, with_source_scale

__all__ = [
    "FORMATS",
    "CellPicture",
    "DataError",
    "DataSet",
    "Field",
    "Marked",
    "Problem",
    "Problems",
    "fields",
    "read",
    "read_folders",
    "recognise",
]

FORMATS: dict[str, Callable[[DataSet, Problems], Iterator[Field]]] = {
    "voc": read_voc,
    "yolo": read_yolo,
    "coco": read_coco,
    "cvat": read_cvat,
    "labels": read_labels,
}
"""Readers of labelled fields by the name of their format; "folder" is read by read_folders."""


def fields(data: DataSet, problems: Problems) -> Iterator[Field]:
    """Yield a data set's fields one by one, sorted by name, with every mark under its own name; none is held."""
    reader = FORMATS.get(data.format)
    if reader is None:
        raise DataError(f"unknown format {data.format!r}", path=data.root, cure=f"Use one of {', '.join(FORMATS)}")
    return reader(data, problems)


def read(
    data: DataSet, *, skip_bad: bool = False, words: Vocabulary | None = None
) -> tuple[list[Sample], list[Problem]]:
    """Return a data set's samples, sorted by name, and what was put right or skipped.

    words: what classes are called so far, which grows where it takes words of a data set's own. Raises DataError with
    the first problems of all fields, unless bad records are to be skipped.
    """
    problems, words = Problems(), words or Vocabulary()
    found: list[Sample] = []
    for field in fields(data, problems):
        with problems.field(field.labels):
            found.append(sample_of(data, field, problems, words))
    samples = with_source_scale(found)
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
