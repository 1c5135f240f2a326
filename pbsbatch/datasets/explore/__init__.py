"""What is in a labelled data set before anybody trains on it: as figures, as text, as a page."""

from pbsbatch.datasets.explore.findings import Findings, explore
from pbsbatch.datasets.explore.page import page_of
from pbsbatch.datasets.explore.text import text_of

__all__ = ["Findings", "explore", "page_of", "text_of"]
