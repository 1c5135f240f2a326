"""The console that people read."""

from __future__ import annotations

import sys

from rich.console import Console

__all__ = ["console", "duration", "some"]

LOG_WIDTH = 200


def console() -> Console:
    """Return a console as wide as the terminal; in a pipe or log, wide enough that no name is folded."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else LOG_WIDTH)


def some(count: int, noun: str) -> str:
    """Return a count with its noun in the right number."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def duration(seconds: float) -> str:
    """Return seconds as a person would say them."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{seconds:.1f} s" if seconds < 10 else f"{rest} s"
