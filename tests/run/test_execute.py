"""The driver over real Dask workers: events, interruption, resume, and the same bytes as an undisturbed run."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import dask
import pytest

from pbsbatch import store
from pbsbatch.config import Config
from pbsbatch.engines.base import Engine
from pbsbatch.errors import UsageError
from pbsbatch.models.base import Model
from pbsbatch.models.taxonomy import CALLED
from pbsbatch.run import cluster
from pbsbatch.run.events import Event, RunStarted, SlideFinished, SlidePlanned, SlidesChanged, StripFinished
from pbsbatch.run.execute import execute
from pbsbatch.run.worker import Loaders
from pbsbatch.testing.oracle import (
    FakeOracleEngine,
    FakeOracleModel,
    fake_second_look,
    load_fake_engine,
    load_fake_oracle,
    load_fake_second_look,
)
from tests.oracle import draw_cells, write_oracle_slide
from tests.run.inline import run_one

LOADERS = Loaders(load_fake_oracle, load_fake_engine)


class CrashingEngine(FakeOracleEngine):
    """A fake that takes its worker down with it, as a broken codec would."""

    def __call__(self, pixels):  # type: ignore[no-untyped-def]
        if (pixels == 7).all(axis=3).any():
            os.kill(os.getpid(), signal.SIGSEGV)
        return super().__call__(pixels)


def load_crashing_engine(model: Model, asked: str) -> Engine:
    """Stand in for engines.load."""
    return CrashingEngine()


def files_of(store: Path) -> dict[str, bytes]:
    return {str(p.relative_to(store)): p.read_bytes() for p in sorted(store.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("archive")
    for number, (width, height) in enumerate([(1500, 1300), (600, 500), (300, 900)]):
        write_oracle_slide(root / f"{number}.tif", draw_cells(width, height, width * height // 3000, seed=number))
    return root


def test_a_run_tells_its_events_and_equals_a_run_without_dask(archive: Path, tmp_path: Path) -> None:
    events: list[Event] = []
    config = Config(inputs=(archive,), output=tmp_path / "out", core=256, workers=2)
    finished = execute(config, events.append, loaders=LOADERS)
    assert finished.stopped is None
    assert [r.status for r in finished.results] == ["ok"] * 3
    kinds = [type(e) for e in events]
    assert kinds[0] is RunStarted
    assert kinds.count(SlideFinished) == 3
    assert kinds.count(SlidePlanned) == 1  # the others are one strip each and done in one task
    assert kinds.count(StripFinished) >= 3
    for result in finished.results:
        assert result.store is not None
        alone = run_one(
            result.path, tmp_path / "alone", config, FakeOracleModel(), FakeOracleEngine(), result.slide_id
        ).store
        assert alone is not None
        assert files_of(alone) == files_of(result.store)
    facts = json.loads((tmp_path / "out" / "run.json").read_text())
    assert facts["slides"] == {"ok": 3, "failed": 0, "pending": 0, "skipped": 0}
    assert facts["stage_busy_seconds"]["decode"] > 0
    assert execute(config, events.append, loaders=LOADERS).results[0].resumed


def test_a_setting_that_changes_results_redoes_them(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(archive)
    config = Config(inputs=(Path("1.tif"),), output=tmp_path / "out", workers=1)
    first = execute(config, lambda _: None, loaders=LOADERS).results[0]
    assert first.path == archive / "1.tif"  # absolute: a worker may stand in another folder
    stricter = Config(inputs=config.inputs, output=config.output, workers=1, score_threshold=0.9)
    events: list[Event] = []
    second = execute(stricter, events.append, loaders=LOADERS).results[0]
    assert SlidesChanged("the setting score_threshold changed", ("1.tif",)) in events
    assert second.changed == "the setting score_threshold changed"
    assert not second.resumed
    assert 0 < sum(second.counts.values()) < sum(first.counts.values())
    assert len(list((tmp_path / "out" / "slides").glob("*.zarr"))) == 1


def test_white_cells_are_named_in_a_run_and_who_names_them_is_part_of_the_key(archive: Path, tmp_path: Path) -> None:
    loaders = Loaders(load_fake_oracle, load_fake_engine, load_fake_second_look)
    config = Config(inputs=(archive,), output=tmp_path / "out", core=256, workers=2, differential=True)
    events: list[Event] = []
    finished = execute(config, events.append, loaders=loaders)
    assert isinstance(events[0], RunStarted) and events[0].classifier == "fake-types"
    for result in finished.results:
        assert result.store is not None
        opened = store.open(result.store)
        white = opened.cells["class"] == 1
        assert opened.types == CALLED and ((opened.cells["type"] != store.UNTYPED) == white).all() and white.any()
        alone = run_one(
            result.path, tmp_path / "alone", config, slide_id=result.slide_id, second=fake_second_look()
        ).store
        assert alone is not None and files_of(alone) == files_of(result.store)
    told = json.loads((tmp_path / "out" / "run.json").read_text())
    assert told["classifier"] == "fake-types" and told["classifier_digest"]
    assert all(r.resumed for r in execute(config, lambda _: None, loaders=loaders).results)
    without = execute(replace(config, differential=False), lambda _: None, loaders=loaders)
    assert not any(r.resumed for r in without.results)
    assert without.results[0].store is not None and store.open(without.results[0].store).types == ()


def test_a_worker_that_is_slow_to_die_costs_no_tables(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = cluster.LocalCluster.close

    def slow(self: cluster.LocalCluster, *arguments: object, **settings: object) -> None:
        real(self, *arguments, **settings)
        raise TimeoutError("a worker was not joined in time")

    monkeypatch.setattr(cluster.LocalCluster, "close", slow)
    config = Config(inputs=(archive / "2.tif",), output=tmp_path / "out", workers=1)
    assert execute(config, lambda event: None, loaders=LOADERS).results[0].status == "ok"
    assert (tmp_path / "out" / "summary.csv").exists()


@pytest.mark.fault
def test_a_slide_that_kills_its_worker_fails_alone(archive: Path, tmp_path: Path) -> None:
    import numpy as np
    import tifffile

    slides = tmp_path / "in"
    slides.mkdir()
    tifffile.imwrite(
        slides / "poison.tif", np.full((400, 400, 3), 7, np.uint8), photometric="rgb", tile=(128, 128),
        resolution=(40000, 40000), resolutionunit="CENTIMETER",
    )  # fmt: skip
    for name in ("1.tif", "2.tif"):
        (slides / name).write_bytes((archive / name).read_bytes())
    config = Config(inputs=(slides,), output=tmp_path / "out", workers=2, halo=60)
    loaders = Loaders(load_fake_oracle, load_crashing_engine)
    finished = execute(config, lambda _: None, loaders=loaders)
    status = {r.name: r.status for r in finished.results}
    assert status == {"1.tif": "ok", "2.tif": "ok", "poison.tif": "failed"}
    error = next(r.error for r in finished.results if r.status == "failed")
    assert error is not None
    assert "worker" in error


def test_a_scheduler_that_is_not_there_is_named(archive: Path, tmp_path: Path) -> None:
    config = Config(inputs=(archive,), output=tmp_path / "out", scheduler="not-an-address")
    with pytest.raises(UsageError, match="not-an-address"):
        execute(config, lambda _: None, loaders=LOADERS)
    assert dask.config.get("scheduler", None) is None  # what the caller computes with Dask does not go to a dead client


def test_a_run_is_not_what_the_callers_own_dask_computes_on(archive: Path, tmp_path: Path) -> None:
    seen: set[object] = set()
    config = Config(inputs=(archive,), output=tmp_path / "out", workers=1)
    execute(config, lambda _: seen.add(dask.base.get_scheduler()), loaders=LOADERS)
    assert seen == {None}


def slide_with_many_strips(tmp_path: Path) -> tuple[Path, Path]:
    """A synthetic smear and a config that cuts it into many strips."""
    from pbsbatch.synth import Scene, write_slide

    (tmp_path / "in").mkdir()
    write_slide(Scene(3000, 5000, seed=5), tmp_path / "in" / "smear.tif")
    (tmp_path / "c.toml").write_text("core = 512\nworkers = 2\n")
    return tmp_path / "in", tmp_path / "c.toml"


def start(slides: Path, out: Path, config: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "pbsbatch", "run", "--input", str(slides), "--output", str(out)]
    return subprocess.Popen(
        [*command, "--config", str(config)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True,
    )  # fmt: skip


def wait_for_strips(out: Path, count: int) -> None:
    until = time.monotonic() + 120
    while len(list(out.glob("slides/.work/*/*/strip-*.cells"))) < count:
        assert time.monotonic() < until, "no strips appeared"
        time.sleep(0.02)


@pytest.mark.fault
def test_interrupted_and_killed_runs_resume_to_the_same_bytes(tmp_path: Path) -> None:
    slides, config = slide_with_many_strips(tmp_path)
    undisturbed = start(slides, tmp_path / "undisturbed", config)
    text, _ = undisturbed.communicate(timeout=200)
    assert undisturbed.returncode == 0, text

    out = tmp_path / "disturbed"
    asked = start(slides, out, config)
    wait_for_strips(out, 1)
    asked.send_signal(signal.SIGINT)
    text, _ = asked.communicate(timeout=100)
    assert asked.returncode == 130, text
    assert "run the same command again" in text
    with (out / "summary.csv").open(encoding="utf-8", newline="") as handle:
        assert [r["status"] for r in csv.DictReader(handle)] == ["pending"]

    killed = start(slides, out, config)
    wait_for_strips(out, 3)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.communicate(timeout=100)

    last = start(slides, out, config)
    text, _ = last.communicate(timeout=200)
    assert last.returncode == 0, text
    one, two = (next((d / "slides").glob("*.zarr")) for d in (tmp_path / "undisturbed", out))
    assert files_of(one) == files_of(two)
    assert not (out / "slides" / ".work").exists()
