"""Why did a worker die? Asked once per death, of its black box and of the kernel's counters."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from pbsbatch.run.blackbox import cause_of_death, oom_kills

__all__ = ["Deaths"]


@dataclass(slots=True)
class Deaths:
    """The workers that died, by address, and why."""

    boxes: Path
    patience: float
    why: dict[str, str] = field(default_factory=dict)
    kills: int = field(default_factory=oom_kills)

    def __contains__(self, address: str) -> bool:
        return address in self.why

    @property
    def last(self) -> str:
        """Return why the last one died."""
        return list(self.why.values())[-1]

    def find_out(self, address: str) -> str:
        """Return why the worker at an address died."""
        if address not in self.why:
            kills = oom_kills()
            self.why[address] = cause_of_death(
                self.boxes, address, patience=self.patience, out_of_memory=kills > self.kills
            )
            self.kills = kills
        return self.why[address]
