"""The errors a person may meet, as one tree.

PbsbatchError
├── UsageError              wrong command line or configuration; nothing was touched (exit 2)
├── PlanError               the plan refuses before any work: a budget, or a halo that does not fit
├── SlideError              one slide cannot be used; it costs that slide
│   ├── NotASlideError      this file is no slide: it is skipped, not failed
│   ├── UnsupportedFormatError   a known format we do not read; the cure says what to convert to
│   ├── UnreadableSlideError     damaged, truncated, empty, forbidden or absurd
│   └── ScaleError          um per pixel is unknown and could not be estimated
├── TileError               one read failed after a retry on a fresh handle; it costs that tile
├── OutputError             the output folder cannot take results: full, read-only, not ours
│   └── OutputLockedError   another run is writing there
├── StoreError              a store or strip on disk is damaged or from another results version
├── ModelError              a model file is damaged or does not fit
└── EngineError             an engine cannot run here, or failed
    └── GpuLostError        the GPU is gone, or its state is: this process cannot use it any more

Law: every message says what happened, to which file, and what to do about it, on one line.
Errors cross process borders: each survives pickling with its fields.
"""

from __future__ import annotations

from os import PathLike, fspath
from typing import Any

__all__ = [
    "EngineError",
    "GpuLostError",
    "ModelError",
    "NotASlideError",
    "OutputError",
    "OutputLockedError",
    "PbsbatchError",
    "PlanError",
    "ScaleError",
    "SlideError",
    "StoreError",
    "TileError",
    "UnreadableSlideError",
    "UnsupportedFormatError",
    "UsageError",
    "one_line",
]


def one_line(text: object) -> str:
    """Return text on one line, with control characters shown as escapes."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in str(text).strip())


class PbsbatchError(Exception):
    """Something a person can act on: what happened, where, and the cure."""

    def __init__(self, what: str, *, path: str | PathLike[str] | None = None, cure: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.path = None if path is None else fspath(path)
        self.cure = cure

    def __str__(self) -> str:
        where = "" if self.path is None else f"{self.path}: "
        cure = "" if self.cure is None else f". {self.cure}"
        return one_line(f"{where}{self.what}{cure}")

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.what, self.path, self.cure)


def _rebuild(kind: type[PbsbatchError], what: str, path: str | None, cure: str | None) -> PbsbatchError:
    return kind(what, path=path, cure=cure)


class UsageError(PbsbatchError):
    """The command line or configuration is wrong; nothing was touched."""


class PlanError(PbsbatchError):
    """The plan refuses before any work is done."""


class SlideError(PbsbatchError):
    """One slide cannot be used."""


class NotASlideError(SlideError):
    """The file is not a slide; it is skipped, not failed."""


class UnsupportedFormatError(SlideError):
    """The format is known and not read here."""


class UnreadableSlideError(SlideError):
    """The slide is damaged, truncated, empty, forbidden or absurd."""


class ScaleError(SlideError):
    """The slide's um per pixel is unknown."""


class TileError(PbsbatchError):
    """One tile could not be read, also not on a fresh handle."""


class OutputError(PbsbatchError):
    """The output folder cannot take results."""


class OutputLockedError(OutputError):
    """Another run is writing to this output folder."""


class StoreError(PbsbatchError):
    """A store or a strip on disk is damaged or of another version."""


class ModelError(PbsbatchError):
    """A model file is damaged or does not fit."""


class EngineError(PbsbatchError):
    """An engine cannot run here, or failed while running."""


class GpuLostError(EngineError):
    """The GPU is gone, or what this process had on it is no longer to be trusted."""
