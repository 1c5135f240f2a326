"""Slides: open any format as levels, a scale with its source, and reads that never fail at a border."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pbsbatch.slides.open import open_slide

__all__ = ["open_slide"]


def __getattr__(name: str) -> Any:
    """Import open_slide when it is first used: the image libraries take half a second."""
    if name == "open_slide":
        from pbsbatch.slides.open import open_slide

        return open_slide
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
