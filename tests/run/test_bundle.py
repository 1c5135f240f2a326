"""A bundle of small slides is published some at a time: by count, by time, and at once where its worker may die."""

from __future__ import annotations

import errno
import os
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest

from pbsbatch import disk, store
from pbsbatch.config import Config
from pbsbatch.errors import OutputError
from pbsbatch.run import bundle
from pbsbatch.run.bundle import TOGETHER, prepare_slides
from pbsbatch.run.events import Event, SlideFinished
from pbsbatch.run.prepare import Workbench
from pbsbatch.slides.base import SlideRef
from pbsbatch.store import build as build_module
from pbsbatch.testing.oracle import FakeOracleEngine, FakeOracleModel
from pbsbatch.testing.stores import digest
from tests.oracle import draw_cells, write_oracle_slide

COUNT = TOGETHER + 3


@pytest.fixture(scope="module")
def refs(tmp_path_factory: pytest.TempPathFactory) -> list[SlideRef]:
    """Return small slides, one of them without any cell."""
    root = tmp_path_factory.mktemp("fields")
    for number in range(COUNT):
        cells = draw_cells(160, 120, 5, seed=number) if number != 4 else np.zeros((120, 160), np.int32)
        write_oracle_slide(root / f"{number:02}.tif", cells)
    return [SlideRef(f"s{n:02}", root / f"{n:02}.tif", f"{n:02}.tif", f"s{n:02}") for n in range(COUNT)]


@pytest.fixture
def syncs(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Return the folders that were synced, and let nothing but their number decide when."""
    seen: list[Path] = []

    def sync(folder: Path) -> None:
        seen.append(folder)
        disk.sync_files(folder)

    monkeypatch.setattr("pbsbatch.store.together.sync_files", sync)
    monkeypatch.setattr(bundle, "SECONDS_TOGETHER", 1e9)
    return seen


def bench_of(out: Path) -> Workbench:
    return Workbench(Config(output=out), FakeOracleModel(), FakeOracleEngine(), None, fence=nullcontext)


def published(out: Path) -> set[str]:
    return {p.stem for p in (out / "slides").glob("*.zarr")}


def test_one_sync_serves_many_slides_and_their_bytes_are_those_of_slides_done_alone(
    refs: list[SlideRef], tmp_path: Path, syncs: list[Path]
) -> None:
    told: list[str] = []

    def report(event: Event) -> None:
        if isinstance(event, SlideFinished):
            told.append(event.result.slide_id)
            assert event.result.slide_id in published(tmp_path / "out"), "told before it was there"

    done = prepare_slides(bench_of(tmp_path / "out"), refs, report)
    assert [r.status for r in done.results] == ["ok"] * COUNT
    assert len(syncs) == 2
    assert sorted(told) == sorted(published(tmp_path / "out")) == [ref.id for ref in refs]
    assert not (tmp_path / "out" / "slides" / ".work").exists()
    assert sum(r.seconds for r in done.results) == pytest.approx(done.seconds)
    for ref in refs[3:6]:
        prepare_slides(bench_of(tmp_path / "alone"), [ref], lambda _: None)
        name = f"{ref.id}.zarr"
        assert digest(tmp_path / "alone" / "slides" / name) == digest(tmp_path / "out" / "slides" / name)
    assert store.open(tmp_path / "out" / "slides" / "s04.zarr").info.cells == 0


def test_a_careful_bundle_publishes_each_slide_as_soon_as_it_is_done(
    refs: list[SlideRef], tmp_path: Path, syncs: list[Path]
) -> None:
    prepare_slides(bench_of(tmp_path), refs[:4], lambda _: None, careful=True)
    assert len(syncs) == 4


def test_work_of_some_seconds_is_not_risked_for_a_sync(
    refs: list[SlideRef], tmp_path: Path, syncs: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundle, "SECONDS_TOGETHER", 0.0)
    prepare_slides(bench_of(tmp_path), refs[:4], lambda _: None)
    assert len(syncs) == 4


def test_a_disk_that_fills_up_stops_the_bundle_and_keeps_what_was_built(
    refs: list[SlideRef], tmp_path: Path, syncs: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    real, left = build_module.build, iter(range(3))

    def full(*args: object) -> None:
        if next(left, None) is None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(*args)  # type: ignore[arg-type]

    monkeypatch.setattr("pbsbatch.store.protocol.build", full)
    told: list[Event] = []
    with pytest.raises(OutputError, match="The disk is full"):
        prepare_slides(bench_of(tmp_path), refs, told.append)
    assert len(published(tmp_path)) == 3 == len(syncs) + 2
    assert {e.result.slide_id for e in told if isinstance(e, SlideFinished)} == published(tmp_path)
    assert not (tmp_path / "slides" / ".work").exists()
    monkeypatch.setattr("pbsbatch.store.protocol.build", real)
    again = prepare_slides(bench_of(tmp_path), refs, lambda _: None)
    assert {r.slide_id for r in again.results if r.resumed} == {
        e.result.slide_id for e in told if isinstance(e, SlideFinished)
    }
    assert len(published(tmp_path)) == COUNT


def test_a_store_that_cannot_be_published_fails_its_slide_alone(
    refs: list[SlideRef], tmp_path: Path, syncs: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.rename

    def lost(source: Path, target: Path) -> None:
        if Path(target).name == "s01.zarr":
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(source))
        real(source, target)

    monkeypatch.setattr(os, "rename", lost)
    done = prepare_slides(bench_of(tmp_path), refs[:3], lambda _: None)
    status = {r.slide_id: r.status for r in done.results}
    assert status == {"s00": "ok", "s01": "failed", "s02": "ok"}
