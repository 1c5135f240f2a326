"""Cut single cells out of pictures: found by their stain, parted where they touch, each in the middle of its crop."""

from pbsbatch.datasets.crop.archive import crop_archive
from pbsbatch.datasets.crop.cut import Frame, cut
from pbsbatch.datasets.crop.stained import PICKS, Found, Rule, cell_diameter, find

__all__ = ["PICKS", "Found", "Frame", "Rule", "cell_diameter", "crop_archive", "cut", "find"]
