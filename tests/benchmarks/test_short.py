"""Short trainings for studies: what has not ended gives nothing and goes on; what is left out was never seen."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from benchmarks.studies import short
from benchmarks.studies.short import Shelf
from pbsbatch.train.detector import Data, Event, Run, teach
from tests.train.tiny import tiny_settings, write_set


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_set(tmp_path_factory.mktemp("fields"))


def test_a_training_goes_on_where_it_was_broken_off(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = tiny_settings(tmp_path, steps=3)

    def broken(run: Run, data: Data, output: Path, stop: object) -> Iterator[Event]:
        return teach(run, data, output, lambda run: run.step >= 2)

    monkeypatch.setattr(short, "teach", broken)
    assert Shelf(tmp_path / "broken", root).taught(settings) is None
    assert "step 2 of 3; run again" in capsys.readouterr().err
    monkeypatch.setattr(short, "teach", teach)
    resumed = Shelf(tmp_path / "broken", root).taught(settings)
    whole = Shelf(tmp_path / "whole", root).taught(settings)
    assert resumed is not None and whole is not None and whole.cpu_minutes > 0
    for name, weight in whole.net.state_dict().items():
        assert torch.equal(weight, resumed.net.state_dict()[name]), name
    monkeypatch.setattr(short, "teach", lambda *_: pytest.fail("it was taught already"))
    again = Shelf(tmp_path / "whole", root, until=0.0).taught(settings)
    assert again is not None and len(again.found) == len(again.fields)
    assert Shelf(tmp_path / "none", root, until=0.0).taught(settings) is None


def test_what_is_left_out_is_nowhere_in_a_training(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Data] = []

    def watched(run: Run, data: Data, output: Path, stop: object) -> Iterator[Event]:
        seen.append(data)
        run.step = 1
        return iter(())

    monkeypatch.setattr(short, "teach", watched)
    shelf = Shelf(tmp_path / "runs", root)
    settings = tiny_settings(tmp_path, steps=2)
    for without in ("", "a", "b"):
        assert shelf.taught(settings, without) is None
    assert [sorted({f.source for f in data.fields}) for data in seen] == [["a", "b"], ["b"], ["a"]]
    assert all(data.weights.sum() == pytest.approx(1) for data in seen)
    assert len(list((tmp_path / "runs").iterdir())) == 3
