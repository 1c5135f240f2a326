"""`--until` over real Dask workers: a night that is too short ends clean, says what is left, and the next goes on."""

from __future__ import annotations

import csv
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pbsbatch.cli.view import exit_code
from pbsbatch.config import Config
from pbsbatch.run import execute as execute_module
from pbsbatch.run.driver import Driver
from pbsbatch.run.events import Event, RunProgress
from pbsbatch.run.execute import execute
from pbsbatch.run.worker import Loaders
from pbsbatch.testing.faults import load_slow_engine
from pbsbatch.testing.oracle import load_fake_engine, load_fake_oracle
from pbsbatch.testing.stores import digest
from tests.oracle import draw_cells, write_oracle_slide

SLIDES = 40
"""Of half a second of processor time each: twenty seconds and more of work."""
NIGHT = timedelta(seconds=5)


@pytest.fixture
def short_night(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the deadline come so soon after the workers are ready, however long this machine took for that."""

    def driver(*args: Any) -> Driver:
        real = Driver(*args)
        assert real.stopping.deadline is not None
        real.stopping.deadline = datetime.now(UTC) + NIGHT
        return real

    monkeypatch.setattr(execute_module, "Driver", driver)


@pytest.mark.fault
def test_a_night_that_is_too_short_ends_clean_and_the_next_one_goes_on(
    tmp_path: Path, short_night: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(SLIDES):
        (tmp_path / "in").mkdir(exist_ok=True)
        write_oracle_slide(tmp_path / "in" / f"{number:02}.tif", draw_cells(160, 120, 5, seed=number))
    events: list[Event] = []
    config = Config(inputs=(tmp_path / "in",), output=tmp_path / "out", workers=1, until="8h")
    first = execute(config, events.append, loaders=Loaders(load_fake_oracle, load_slow_engine))
    status = [r.status for r in first.results]
    done = status.count("ok")
    assert first.stopped == "the deadline: nothing that is left would end in time"
    assert exit_code(first) == 3
    assert 0 < done < SLIDES
    assert status == ["ok"] * done + ["pending"] * (SLIDES - done), "not in the order given"
    with (tmp_path / "out" / "summary.csv").open(encoding="utf-8", newline="") as handle:
        assert [row["status"] for row in csv.DictReader(handle)] == status
    assert not (tmp_path / "out" / "slides" / ".work").exists(), "something was left half done"
    assert any(e.deadline is not None and e.deadline_holds is False for e in events if isinstance(e, RunProgress))

    monkeypatch.undo()
    stores = {p.name: p.stat().st_ino for p in (tmp_path / "out" / "slides").iterdir()}
    assert len(stores) == done
    loaders = Loaders(load_fake_oracle, load_fake_engine)
    second = execute(replace(config, until=None), events.append, loaders=loaders)
    assert exit_code(second) == 0
    assert [r.resumed for r in second.results] == [True] * done + [False] * (SLIDES - done)
    assert stores.items() <= {p.name: p.stat().st_ino for p in (tmp_path / "out" / "slides").iterdir()}.items()
    undisturbed = execute(replace(config, until=None, output=tmp_path / "whole"), events.append, loaders=loaders)
    assert exit_code(undisturbed) == 0
    assert digest(tmp_path / "out" / "slides") == digest(tmp_path / "whole" / "slides")
