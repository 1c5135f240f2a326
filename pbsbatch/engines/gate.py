"""The parity gate: before an engine's first run on a machine, its results are held against a reference.

Laws. Every slot of every batch size is compared with the reference's own result for that tile, and a permuted batch
with the unpermuted one, because runtimes were seen that are wrong for batches above one or let rows leak into each
other. What passed is written down for this engine, precision, model, processor or GPU and versions, and holds until one
of them changes. What fails is never run. Tolerances are per precision, and differences are shares of what the
reference's values spread over: what two tiles differ by is more. Of several references, each right by itself, one that
agrees is enough: a wrong engine agrees with none.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pbsbatch.disk import write_atomic
from pbsbatch.engines.base import DenseEngine
from pbsbatch.engines.keep import keep_folder
from pbsbatch.engines.processor import place_of
from pbsbatch.errors import EngineError
from pbsbatch.models.base import Raw

__all__ = [
    "BATCHES",
    "SHAPE",
    "TOLERANCES",
    "Tolerance",
    "Verdict",
    "Wanted",
    "judge",
    "pass_gate",
    "probe_tiles",
]

GATE = 2
"""Raised when the gate asks for more than it did: old stamps do not count then."""
SHAPE = (128, 160)
BATCHES = (1, 2, 5)
PERMUTED = 1e-3
"""How far a slot may move when the batch is permuted: kernels may differ in their last bits, not in a value."""


@dataclass(frozen=True, slots=True)
class Tolerance:
    """The largest difference from the reference: on the average (root mean square) and anywhere."""

    rms: float
    worst: float


TOLERANCES: Mapping[str, Tolerance] = {
    "fp32": Tolerance(1e-4, 1e-3),
    "fp16": Tolerance(0.005, 0.03),
    "bf16": Tolerance(0.01, 0.08),
    "int8": Tolerance(0.04, 0.30),
}
"""Of the shipped detector were measured, on the average and anywhere: bf16 .003 and .03, int8 .016 and .08; two
different tiles differ by .06 and more on the average."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an engine is tried with: a model by its digest, the um per pixel of its tiles, their shape."""

    model: str
    mpp: float
    shape: tuple[int, int] = SHAPE


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the gate found. where is empty if the engine passed."""

    rms: float
    worst: float
    where: str = ""

    def __bool__(self) -> bool:
        return not self.where


def probe_tiles(count: int, shape: tuple[int, int], mpp: float, seed: int = 0) -> NDArray[np.uint8]:
    """Return distinct tiles with something like cells on something like glass, the same on every machine."""
    rng = np.random.default_rng(seed)
    tiles = rng.normal((232, 224, 230), 3, (count, *shape, 3))
    for tile in tiles:
        for radius_um, colour, hollow, number in (
            (3.7, (205, 155, 160), True, 7),
            (6.5, (120, 85, 155), False, 1),
            (1.2, (150, 110, 170), False, 2),
        ):
            for _ in range(number):
                centre = (int(rng.integers(shape[1])), int(rng.integers(shape[0])))
                radius = max(2, round(radius_um * float(rng.uniform(0.85, 1.15)) / mpp))
                cv2.circle(tile, centre, radius, colour, -1)
                if hollow:
                    cv2.circle(tile, centre, radius // 3, (225, 200, 205), -1)
        cv2.GaussianBlur(tile, (5, 5), 0, dst=tile)
    return np.clip(np.rint(tiles), 0, 255).astype(np.uint8)


def judge(engine: DenseEngine, reference: DenseEngine, wanted: Wanted, batches: tuple[int, ...] = BATCHES) -> Verdict:
    """Hold an engine against a reference."""
    most = max(batches)
    tiles = probe_tiles(most, wanted.shape, wanted.mpp)
    expected = reference(tiles)
    tolerance = TOLERANCES[engine.precision]
    rms = worst = 0.0
    whole: Raw = {}
    for count in sorted(batches):
        whole = engine(tiles[most - count :])
        for where, a, b in _compared(whole, {k: v[most - count :] for k, v in expected.items()}, expected):
            rms, worst = max(rms, a), max(worst, b)
            if not (a <= tolerance.rms and b <= tolerance.worst):
                return Verdict(a, b, f"batch of {count}, {where}")
    order = np.roll(np.arange(most), 1)[::-1]
    permuted = engine(tiles[order])
    for where, a, b in _compared({k: v[np.argsort(order)] for k, v in permuted.items()}, whole, expected):
        if not b <= PERMUTED:
            return Verdict(a, b, f"permuted batch, {where}")
    return Verdict(rms, worst)


def _compared(found: Raw, wanted: Raw, spread: Raw) -> Iterator[tuple[str, float, float]]:
    """Yield for each output and slot the differences, as shares of what the values of all tiles spread over."""
    if set(found) != set(wanted):
        yield f"outputs are {', '.join(sorted(found))}", np.inf, np.inf
        return
    for name, values in wanted.items():
        if found[name].shape != values.shape:
            yield f"{name} has the shape {found[name].shape}", np.inf, np.inf
            continue
        reach = float(np.ptp(np.asarray(spread[name], np.float64))) or 1.0
        for slot, (a, b) in enumerate(zip(found[name], values, strict=True)):
            gap = np.abs(np.asarray(a, np.float64) - np.asarray(b, np.float64)) / reach
            yield f"{name} of slot {slot}", float(np.sqrt(np.mean(gap**2))), float(gap.max())


def pass_gate(
    engine: DenseEngine, wanted: Wanted, versions: str, references: Sequence[Callable[[], DenseEngine]]
) -> Verdict:
    """Return what the gate found, now or when it was asked last; an engine that it refuses is an EngineError.

    A reference is made where there is a need; one that cannot be made here is passed over.
    """
    facts = {
        "gate": GATE, "engine": engine.name, "precision": engine.precision, "device": place_of(engine),
        "model": wanted.model, "versions": versions,
    }  # fmt: skip
    path = _stamp_path(facts)
    earlier = None if path is None else _read(path, facts)
    if earlier is not None:
        return earlier
    verdict, against = _asked(engine, wanted, references)
    if not verdict:
        raise EngineError(
            f"{engine.name} in {engine.precision} does not compute here what {against} does: off by "
            f"{verdict.rms:.4f} on the average and {verdict.worst:.4f} at most, {verdict.where}",
            cure="Use another --engine, for example openvino:fp32, and report this",
        )
    if path is not None:
        with suppress(OSError):  # a full disk costs the gate again, not the run
            told = json.dumps({"facts": facts, "reference": against, "found": asdict(verdict)}, indent=1)
            write_atomic(path, [told.encode()], sync=True)
    return verdict


def _asked(engine: DenseEngine, wanted: Wanted, references: Sequence[Callable[[], DenseEngine]]) -> tuple[Verdict, str]:
    """Return the verdict of the first reference that agrees, or of the last one, and its name."""
    found: tuple[Verdict, str] | None = None
    missing: list[str] = []
    for make in references:
        try:
            other = make()
        except EngineError as error:
            missing.append(str(error))
            continue
        try:
            found = judge(engine, other, wanted), f"{other.name} {other.precision}"
        finally:
            other.close()
        if found[0]:
            break
    if found is None:
        raise EngineError(f"there is nothing to hold {engine.name} {engine.precision} against: {'; '.join(missing)}")
    return found


def _stamp_path(facts: Mapping[str, Any]) -> Path | None:
    """Return where the stamp is or will be, None where no folder is safe: then every process asks the gate."""
    try:
        folder = keep_folder("gates")
    except EngineError:
        return None
    return folder / f"{hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()}.json"


def _read(path: Path, facts: Mapping[str, Any]) -> Verdict | None:
    """Return what an earlier gate found; a stamp that cannot be read counts as none."""
    try:
        told = json.loads(path.read_bytes())
        return Verdict(**told["found"]) if told["facts"] == facts else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
