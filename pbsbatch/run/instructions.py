"""What a worker can be asked to do. Small, frozen, and equal only if they ask for the same."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["Commit", "Instruction", "Look", "Prepare", "Process"]


@dataclass(frozen=True, slots=True)
class Look:
    """See whether slides that were published before are still what would be published now."""

    slides: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Prepare:
    """Open, key, calibrate and plan slides; do all of those that are small, in one stream.

    Careful: each is published as soon as it is done. How, not what: it makes no difference between two instructions.
    """

    slides: tuple[str, ...]
    careful: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class Process:
    """Compute some strips of a planned slide."""

    slide_id: str
    strips: tuple[int, ...]
    tiles: int


@dataclass(frozen=True, slots=True)
class Commit:
    """Settle and publish a slide whose strips are all there."""

    slide_id: str


Instruction = Look | Prepare | Process | Commit
