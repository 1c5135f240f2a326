"""Who killed the worker? Pure.

A worker that dies takes its bundles with it, and does not say which slide did it. A lost bundle runs
again whole; lost again, it is split; a slide that is left alone and was lost twice runs once more with
nothing else at work, and is given up if its worker dies again. So a poisonous slide costs itself, an
innocent neighbour only time, and no slide is given up for want of memory that others took.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from pbsbatch.run.instructions import Instruction, Look, Prepare

__all__ = ["MOST_DEATHS", "Blame", "Verdict"]

MOST_DEATHS = 40
"""Deaths in a row, without anything done between them, after which the workers are at fault and not the slides."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What follows from a loss: instructions to run again, or the slide to give up."""

    again: tuple[Instruction, ...] = ()
    guilty: str | None = None


@dataclass(slots=True)
class Blame:
    """Count losses per instruction. Law: a slide is given up for a crash only after it crashed alone."""

    losses: dict[Instruction, int] = field(default_factory=dict)
    alone: deque[Instruction] = field(default_factory=deque)  # to run with nothing beside them
    tried_alone: set[Instruction] = field(default_factory=set)
    deaths: int = 0  # in a row

    @property
    def hopeless(self) -> bool:
        """Say whether workers die whatever they are given."""
        return self.deaths >= MOST_DEATHS

    def next_alone(self, live: Callable[[Instruction], Instruction | None]) -> Instruction | None:
        """Return the next instruction that must run with nothing beside it."""
        while self.alone:
            instruction = live(self.alone.popleft())
            if instruction is not None:
                self.tried_alone.add(instruction)
                return instruction
        return None

    def judge(self, instruction: Instruction, *, crash: bool) -> Verdict:
        """Decide what follows from the loss of an instruction by a crash, or by an error that no slide owns."""
        losses = self.losses.pop(instruction, 0) + 1
        self.deaths += crash
        if isinstance(instruction, Look | Prepare) and len(instruction.slides) > 1:
            if crash and losses == 1:
                return self._again(_carefully(instruction, instruction.slides), 1)
            # slides are done in order and those before the fault are done: it lies near the head
            head = max(1, len(instruction.slides) // 4)
            parts = (_carefully(instruction, instruction.slides[:head]),
                     _carefully(instruction, instruction.slides[head:]))  # fmt: skip
            self.losses |= dict.fromkeys(parts, 1)
            return Verdict(parts)
        if not crash or instruction in self.tried_alone:
            return Verdict(guilty=_slide_of(instruction))
        if losses == 1:
            return self._again(instruction, 1)
        self.losses[instruction] = losses
        self.alone.append(instruction)
        return Verdict()

    def _again(self, instruction: Instruction, losses: int) -> Verdict:
        self.losses[instruction] = losses
        return Verdict((instruction,))

    def renamed(self, old: Instruction, new: Instruction) -> Instruction:
        """Carry the losses of a bundle over to what is left of it."""
        if new != old and old in self.losses:
            self.losses[new] = self.losses.pop(old)
        return new

    def cleared(self, instruction: Instruction) -> None:
        """Take note that an instruction ended without a crash."""
        self.losses.pop(instruction, None)
        self.deaths = 0


def _carefully(instruction: Look | Prepare, slides: tuple[str, ...]) -> Instruction:
    """Return a bundle of these slides whose worker dies with none of those that are done before it does."""
    return Look(slides) if isinstance(instruction, Look) else Prepare(slides, careful=True)


def _slide_of(instruction: Instruction) -> str:
    return instruction.slides[0] if isinstance(instruction, Look | Prepare) else instruction.slide_id
