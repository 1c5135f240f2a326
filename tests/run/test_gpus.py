"""One worker per GPU, each seeing its own alone; a GPU that is lost costs its worker's process and nothing else."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from pbsbatch.config import Config
from pbsbatch.engines.base import Engine
from pbsbatch.engines.gpus import Gpu, Gpus
from pbsbatch.errors import GpuLostError
from pbsbatch.models.base import Model
from pbsbatch.run import execute as execute_module
from pbsbatch.run.events import EngineSaid, Event, RunStarted, WorkerDied
from pbsbatch.run.execute import execute
from pbsbatch.run.worker import Loaders
from pbsbatch.testing.oracle import FakeOracleEngine, load_fake_oracle
from tests.oracle import draw_cells, write_oracle_slide

TWO = Gpus(tuple(Gpu(i, "Fake GPU 9000", f"GPU-{i}", (9, 0), 1, 1, 1) for i in range(2)), "13.0")


class OnAGpu(FakeOracleEngine):
    """A fake of an engine on a GPU: leaves a file that says which one it saw, and loses it where it is told to."""

    device = "Fake GPU 9000"

    def __init__(self) -> None:
        super().__init__()
        self.seen = os.environ.get("CUDA_VISIBLE_DEVICES", "none")
        self.folder = Path(os.environ["FAKE_GPU_FOLDER"])

    def __call__(self, pixels):  # type: ignore[no-untyped-def]
        mark = self.folder / f"{self.seen}-{os.getpid()}"
        if not mark.exists():
            self.notes.append("the GPU's memory was full")
        mark.touch()
        lose = self.folder / "lose"
        if lose.exists():
            lose.unlink()
            raise GpuLostError("the GPU has fallen off the bus")
        return super().__call__(pixels)


def load_on_a_gpu(model: Model, asked: str) -> Engine:
    """Stand in for engines.load."""
    with (Path(os.environ["FAKE_GPU_FOLDER"]).parent / "asked").open("a") as handle:
        handle.write(f"{asked}\n")
    engine = OnAGpu()
    engine.notes += ["chosen for a reason"] * (asked == "auto")
    return engine


def test_workers_share_the_gpus_out_and_survive_the_loss_of_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slides, seen = tmp_path / "in", tmp_path / "seen"
    slides.mkdir()
    seen.mkdir()
    for number in range(4):
        write_oracle_slide(slides / f"{number}.tif", draw_cells(600, 500, 100, seed=number))
    monkeypatch.setattr(execute_module, "find_gpus", lambda: TWO)
    monkeypatch.setenv("FAKE_GPU_FOLDER", str(seen))
    (seen / "lose").touch()
    events: list[Event] = []
    config = Config(inputs=(slides,), output=tmp_path / "out")
    finished = execute(config, events.append, loaders=Loaders(load_fake_oracle, load_on_a_gpu))
    assert [r.status for r in finished.results] == ["ok"] * 4
    (started,) = (e for e in events if isinstance(e, RunStarted))
    assert started.workers == 2 and started.notes == ("chosen for a reason",)
    asked = (tmp_path / "asked").read_text().split()
    assert asked[0] == "auto" and set(asked[1:]) == {"fake-oracle:uint8"}  # workers run what the driver chose
    engine = json.loads((tmp_path / "out" / "run.json").read_text())["engine"]
    assert engine["device"] == "Fake GPU 9000" and engine["notes"] == ["chosen for a reason"]
    names = sorted(p.name for p in seen.iterdir())
    assert len(names) == len({name.rpartition("-")[2] for name in names})  # no process saw two
    assert {name.rpartition("-")[0] for name in names} <= {"GPU-0", "GPU-1"}
    assert [e.why for e in events if isinstance(e, WorkerDied)] == ["the GPU has fallen off the bus"]
    said = [e for e in events if e == EngineSaid("the GPU's memory was full")]
    assert 1 <= len(said) < len(names) + 1  # once per process, but for the one that was lost
    log = (tmp_path / "out" / "run.log").read_text()
    assert "engine: the GPU's memory was full" in log and "the GPU has fallen off the bus" in log
