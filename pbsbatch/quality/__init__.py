"""How good a smear is and where: what tiles say, the zones they make, and the cells that count."""

from pbsbatch.quality.counting import Measures, measure
from pbsbatch.quality.tiles import NO_CLASS, failed_tile, figures_of, read_tile

__all__ = ["NO_CLASS", "Measures", "failed_tile", "figures_of", "measure", "read_tile"]
