"""Weak masks: outlines of cells that nobody drew, for pictures of which at most the class is known."""

from pbsbatch.datasets.weak.archive import Tally, mask_archive
from pbsbatch.datasets.weak.blobs import Blobs
from pbsbatch.datasets.weak.score import overlap, read_truth
from pbsbatch.datasets.weak.sheet import draw_sheet
from pbsbatch.datasets.weak.steps import Method, Steps
from pbsbatch.datasets.weak.watershed import Watershed

__all__ = ["Blobs", "Method", "Steps", "Tally", "Watershed", "draw_sheet", "mask_archive", "overlap", "read_truth"]
