"""Read OME-NGFF images (OME-Zarr 0.4 and 0.5) through the one module that knows zarr."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pbsbatch.errors import PbsbatchError, one_line
from pbsbatch.geometry import Box
from pbsbatch.slides.image import ReadFault, Source
from pbsbatch.slides.scale import ScaleFacts

if TYPE_CHECKING:
    from pbsbatch.ngff import NgffImage

__all__ = ["source"]


class NgffHandle:
    """One thread's open store."""

    def __init__(self, image: NgffImage) -> None:
        self.levels = image.levels

    def read(self, level: int, box: Box) -> NDArray[np.uint8]:
        """Return (h, w, 3) RGB of a box inside the level."""
        try:
            return self.levels[level].read(box.x, box.y, box.w, box.h)
        except (OSError, ValueError, RuntimeError, LookupError, TypeError, PbsbatchError) as error:
            raise ReadFault(one_line(error)[:200] or type(error).__name__) from error

    def close(self) -> None:
        """Forget the arrays; a store keeps no file open."""
        self.levels = ()


def source(path: Path) -> Source:
    """Return an OME-NGFF image as a Source. Raises a SlideError."""
    from pbsbatch import ngff

    image = ngff.open_image(path)
    sizes = tuple((level.width, level.height) for level in image.levels)
    scale = ScaleFacts(scanner=None if image.mpp is None else (image.mpp, image.mpp))
    return Source("OME-NGFF", sizes, lambda: NgffHandle(ngff.open_image(path)), scale, notes=image.notes)
