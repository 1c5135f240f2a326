"""The parity gate: what is wrong in any slot, batch or order does not pass; what passed is not asked again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pbsbatch import models
from pbsbatch.engines import gate
from pbsbatch.engines.gate import BATCHES, SHAPE, TOLERANCES, Wanted, judge, pass_gate, probe_tiles
from pbsbatch.engines.keep import FOLDER
from pbsbatch.engines.openvino import OpenVINOEngine
from pbsbatch.engines.processor import has_bf16, has_int8
from pbsbatch.engines.torch import TorchEngine
from pbsbatch.errors import EngineError
from pbsbatch.models.base import Raw
from pbsbatch.models.dense import DenseModel
from pbsbatch.models.folder import ModelFolder
from pbsbatch.testing.engines import FakeEngine

Change = Callable[[NDArray[np.uint8], dict[str, NDArray[np.float32]]], dict[str, NDArray[np.float32]]]


class Wrong(TorchEngine):
    """A fake runtime: the reference, with something wrong in its results."""

    precision = "fp16"

    def __init__(self, folder: ModelFolder, change: Change) -> None:
        super().__init__(folder, device="cpu", threads=1)
        self.precision, self.change, self.calls = "fp16", change, 0

    def __call__(self, pixels: NDArray[np.uint8]) -> Raw:
        self.calls += 1
        return self.change(pixels, {k: np.array(v) for k, v in super().__call__(pixels).items()})


def second_row_stale(pixels: NDArray[np.uint8], raw: dict[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
    return {k: np.concatenate([v[:1], v[:1], v[2:]]) if len(v) > 1 else v for k, v in raw.items()}


def rows_leak(pixels: NDArray[np.uint8], raw: dict[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
    return {k: v + np.float32(0.02 * (len(v) > 1)) * np.roll(v, 1, axis=0) for k, v in raw.items()}


def one_hole(pixels: NDArray[np.uint8], raw: dict[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
    raw["boxes"][-1, 0, 3, 3] += 5 * np.ptp(raw["boxes"])
    return raw


def not_a_number(pixels: NDArray[np.uint8], raw: dict[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
    raw["outlines"][0, 5, 2, 2] = np.nan
    return raw


def depends_on_its_place(
    pixels: NDArray[np.uint8], raw: dict[str, NDArray[np.float32]]
) -> dict[str, NDArray[np.float32]]:
    steps = np.arange(len(pixels), dtype=np.float32)[:, None, None, None]
    return {k: v + 0.0011 * np.ptp(v) * steps for k, v in raw.items()}


@pytest.mark.parametrize(
    ("change", "where"),
    [
        (second_row_stale, "batch of 2, scores of slot 1"), (rows_leak, "batch of 2"), (one_hole, "boxes of slot 0"),
        (not_a_number, "outlines of slot 0"), (depends_on_its_place, "permuted batch"),
        (lambda _, raw: {"scores": raw["scores"]}, "outputs are scores"),
        (lambda _, raw: {**raw, "boxes": raw["boxes"][:, :, 1:]}, "boxes has the shape"),
        (lambda _, raw: raw, ""),
    ],
)  # fmt: skip
def test_what_is_wrong_anywhere_does_not_pass(change: Change, where: str, folder: ModelFolder) -> None:
    verdict = judge(Wrong(folder, change), TorchEngine(folder, device="cpu", threads=1), Wanted("", 0.25))
    assert bool(verdict) == (where == "")
    assert where in verdict.where


def test_two_tiles_differ_by_more_than_any_tolerance() -> None:
    """Else a slot that holds another tile's result could pass."""
    model = models.load("smear")
    assert isinstance(model, DenseModel)
    raw = OpenVINOEngine(model.folder, "fp32")(probe_tiles(max(BATCHES), SHAPE, model.spec.work_mpp))
    most = max(t.rms for t in TOLERANCES.values())
    for values in raw.values():
        reach = np.ptp(np.asarray(values))
        gaps = [np.sqrt(np.mean((a - b) ** 2)) / reach for i, a in enumerate(values) for b in values[:i]]
        assert min(gaps) > most


@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8"])
def test_the_shipped_detector_passes_with_room_to_spare(precision: str) -> None:
    if not {"fp32": True, "bf16": has_bf16(), "int8": has_int8()}[precision]:
        pytest.skip(f"this processor does not compute in {precision}")
    model = models.load("smear")
    assert isinstance(model, DenseModel)
    verdict = judge(OpenVINOEngine(model.folder, precision), TorchEngine(model.folder, device="cpu"), Wanted("", 0.25))
    assert (
        verdict and verdict.rms < TOLERANCES[precision].rms / 1.5 and verdict.worst < TOLERANCES[precision].worst / 1.5
    )


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(FOLDER, str(tmp_path))
    return tmp_path / "gates"


def fp16(folder: ModelFolder, change: Change = lambda _, raw: raw) -> Wrong:
    return Wrong(folder, change)


def test_the_gate_is_asked_once_for_each_engine_model_machine_and_version(
    folder: ModelFolder, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []

    def make() -> TorchEngine:
        made.append("reference")
        return TorchEngine(folder, device="cpu", threads=1)

    reference = [make]
    first = pass_gate(fp16(folder), Wanted("model 1", 0.25), "torch 2.9", reference)
    engine = fp16(folder)
    assert pass_gate(engine, Wanted("model 1", 0.25), "torch 2.9", reference) == first
    assert engine.calls == 0 and len(made) == 1
    told = json.loads(next(kept.iterdir()).read_text())
    assert told["reference"] == "torch fp32" and told["facts"]["precision"] == "fp16"
    pass_gate(fp16(folder), Wanted("model 2", 0.25), "torch 2.9", reference)
    pass_gate(fp16(folder), Wanted("model 1", 0.25), "torch 3.0", reference)
    monkeypatch.setattr(gate, "place_of", lambda _: "another processor")
    pass_gate(fp16(folder), Wanted("model 1", 0.25), "torch 2.9", reference)
    assert len(made) == 4 and len(list(kept.iterdir())) == 4
    for stamp in kept.iterdir():
        stamp.write_text("{")
    pass_gate(fp16(folder), Wanted("model 1", 0.25), "torch 2.9", reference)
    assert len(made) == 5


def test_what_fails_is_an_error_with_the_cure_and_leaves_no_stamp(folder: ModelFolder, kept: Path) -> None:
    reference = [lambda: TorchEngine(folder, device="cpu", threads=1)]
    for _ in range(2):
        with pytest.raises(EngineError, match=r"torch in fp16 does not compute here what torch fp32 does.*--engine"):
            pass_gate(fp16(folder, rows_leak), Wanted("model 1", 0.25), "torch 2.9", reference)
    assert list(kept.iterdir()) == []


def test_a_reference_that_is_not_here_is_passed_over_and_one_that_agrees_is_enough(
    folder: ModelFolder, kept: Path
) -> None:
    """A wrong reading of a graph must not keep a right engine out; without any reference nothing runs."""
    asked: list[str] = []

    def missing() -> TorchEngine:
        asked.append("missing")
        raise EngineError("OpenCV cannot read it")

    def wrong() -> TorchEngine:
        asked.append("wrong")
        return fp16(folder, second_row_stale)

    def right() -> TorchEngine:
        asked.append("right")
        return TorchEngine(folder, device="cpu", threads=1)

    with pytest.raises(EngineError, match=r"nothing to hold torch fp16 against: OpenCV cannot read it"):
        pass_gate(fp16(folder), Wanted("model 1", 0.25), "torch 2.9", [missing])
    with pytest.raises(EngineError, match=r"does not compute here what torch fp16 does"):
        pass_gate(fp16(folder), Wanted("model 1", 0.25), "torch 2.9", [missing, wrong])
    assert list(kept.iterdir()) == []
    asked.clear()
    assert pass_gate(fp16(folder), Wanted("model 1", 0.25), "torch 2.9", [missing, wrong, right, wrong])
    assert asked == ["missing", "wrong", "right"]
    assert json.loads(next(kept.iterdir()).read_text())["reference"] == "torch fp32"


def test_without_a_safe_folder_the_gate_is_asked_every_time(
    folder: ModelFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv(FOLDER, str(tmp_path / "file"))
    reference = [lambda: TorchEngine(folder, device="cpu", threads=1)]
    for _ in range(2):
        engine = fp16(folder)
        assert pass_gate(engine, Wanted("model 1", 0.25), "torch 2.9", reference)
        assert engine.calls == len(BATCHES) + 1


def test_probe_tiles_are_distinct_and_the_same_everywhere() -> None:
    tiles = probe_tiles(3, (64, 64), 0.25)
    assert np.array_equal(tiles, probe_tiles(3, (64, 64), 0.25))
    assert not np.array_equal(tiles[0], tiles[1])
    assert FakeEngine()(tiles)["scores"].shape[0] == 3
