"""Counts and outlines the blood cells of whole archives of smear slides, overnight."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pbsbatch.notebook import detect as detect
    from pbsbatch.results import open_run as open_run

__all__ = ["__version__", "detect", "open_run"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Import what needs numpy only when it is asked for: the command line answers at once."""
    if name == "open_run":
        from pbsbatch.results import open_run

        return open_run
    if name == "detect":
        from pbsbatch.notebook import detect

        return detect
    raise AttributeError(f"module 'pbsbatch' has no attribute {name!r}")
