"""A sweep tries what its lists say, does nothing twice, loses a trial to a trial's death, and says what is next."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from pbsbatch.errors import UsageError
from pbsbatch.train.sweep import run
from pbsbatch.train.sweep.plan import read_sweep
from pbsbatch.train.sweep.run import sweep
from pbsbatch.train.sweep.table import next_step, toml_of
from pbsbatch.train.sweep.trial import read_result, run_trial
from tests.train.classifier.tiny import SETTINGS, tiny_settings, write_cells
from tests.train.sweep.trials import fake_trial

OVER = """
[search]
{search}
[search.over]
{over}
"""


def config(tmp: Path, over: str, search: str = "", settings: str = SETTINGS) -> Path:
    """Write a sweep's file."""
    head, mark, pictures = settings.partition("[[pictures]]")
    (tmp / "search.toml").write_text(head + OVER.format(over=over, search=search) + mark + pictures)
    return tmp / "search.toml"


BATCHES = "learning_rate = [1e-2, 1e-3, 1e-4]\nbatch = [4, 8, 16]"


class Here:
    """A cluster that is this process."""

    def __init__(self) -> None:
        self.abandoned = 0

    def workers(self) -> int:
        return 1

    def submit(self, do, *values):  # type: ignore[no-untyped-def]
        return Future(do, values)

    def abandon(self, futures: list[object]) -> None:
        self.abandoned += len(futures)


class Future:
    def __init__(self, do, values) -> None:  # type: ignore[no-untyped-def]
        self.error: BaseException | None = None
        try:
            self.value = do(*values)
        except UsageError as error:
            self.error = error

    def done(self) -> bool:
        return True

    def exception(self) -> BaseException | None:
        return self.error

    def result(self) -> object:
        return self.value

    def release(self) -> None: ...


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Here:
    from contextlib import nullcontext

    cluster = Here()
    monkeypatch.setattr(run, "connect_bare", lambda config: nullcontext(cluster))
    return cluster


def test_every_combination_is_tried_once_and_the_best_is_said(here: Here, tmp_path: Path) -> None:
    asked = read_sweep(config(tmp_path, BATCHES))
    assert len(asked.trials) == 9
    out = tmp_path / "out"
    outcome = sweep(asked, tmp_path, out, do=fake_trial)
    assert len(outcome.results) == 9 and not outcome.failed and outcome.best is not None
    assert outcome.best.values == {"learning_rate": 1e-3, "batch": 16}
    lines = (out / "table.csv").read_text().splitlines()
    assert len(lines) == 10 and lines[1].split(",")[0] == "1" and lines[1].split(",")[2:4] == ["0.001", "16"]
    best = tomllib.loads((out / "best.toml").read_text())
    assert (best["batch"], best["learning_rate"], best["network"]["channels"]) == (16, 1e-3, [4, 8, 8, 8])
    following = read_sweep(out / "next.toml")
    assert following.over == {"learning_rate": (0.0003162, 0.001, 0.003162), "batch": (16, 32, 64)}


def test_what_is_done_is_not_done_again_and_lists_may_grow(here: Here, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = read_sweep(config(tmp_path, "batch = [4, 8, 16]"))
    ended: list[str] = []
    halted = sweep(
        first, tmp_path, out, do=fake_trial, on_end=lambda t, o: ended.append(t.id), stop=lambda: len(ended) > 0
    )
    assert halted.stopped and len(ended) == 1
    whole = sweep(first, tmp_path, out, do=fake_trial)
    assert whole.kept == 1 and len(whole.results) == 3
    longer = sweep(read_sweep(config(tmp_path, "batch = [32, 8, 4]")), tmp_path, out, do=fake_trial)
    assert longer.kept == 2 and len(longer.results) == 3
    again = sweep(read_sweep(config(tmp_path, "batch = [32, 8, 4]")), tmp_path, out, do=lambda *_: pytest.fail("again"))
    assert again.kept == 3
    began = [len(list(folder.glob("began-*"))) for folder in (out / "trials").iterdir()]
    assert began == [1, 1, 1, 1]


def test_a_failed_trial_costs_itself_and_is_tried_again(here: Here, tmp_path: Path) -> None:
    asked, out = read_sweep(config(tmp_path, "batch = [4, 8]")), tmp_path / "out"
    (tmp_path / "fail").touch()
    outcome = sweep(asked, tmp_path, out, do=fake_trial)
    assert len(outcome.results) == 1 and list(outcome.failed.values()) == ["eight is too few"]
    assert "eight is too few" in (out / "table.csv").read_text()
    (tmp_path / "fail").unlink()
    assert len(sweep(asked, tmp_path, out, do=fake_trial).results) == 2


def test_random_draws_as_many_different_ones_as_asked(tmp_path: Path) -> None:
    search = 'strategy = "random"\ntrials = 5\nseed = 3'
    asked = read_sweep(config(tmp_path, BATCHES, search))
    assert len({trial.id for trial in asked.trials}) == 5
    assert [t.values for t in asked.trials] == [t.values for t in read_sweep(config(tmp_path, BATCHES, search)).trials]


def test_depth_is_searched_by_name_or_by_blocks(tmp_path: Path) -> None:
    over = 'arch = ["crp-2", "crp-3"]\noptimiser = ["adam", "adadelta"]\n"network.blocks" = [[0, 0, 1], [1, 1, 1]]'
    asked = read_sweep(config(tmp_path, over, 'preset = "adam-42"'))
    assert len(asked.trials) == 8 and {t.settings.network.blocks for t in asked.trials} == {(0, 0, 1), (1, 1, 1)}
    assert all(t.settings.split_seed == 42 and t.settings.network.channels == (4, 8, 8, 8) for t in asked.trials)
    assert next_step(asked, asked.trials[0]).over == {}
    fast = read_sweep(config(tmp_path, "learning_rate = [0.1, 0.5, 1.0]"))
    told = next_step(fast, fast.trials[2])
    assert told.over == {} and told.why == ("learning_rate 1: the last that is allowed was best, stays",)
    written = tomllib.loads(toml_of(asked.base, {"search.over": {"network.blocks": ((0, 0, 1),), "name": ('a"b\n',)}}))
    assert written["search"]["over"] == {"network.blocks": [[0, 0, 1]], "name": ['a"b\n']}
    assert written["pictures"][0]["rename"][0] == {"begins": "neutrophil/BNE", "is_a": "band_neutrophil"}


@pytest.mark.parametrize(
    ("over", "search", "said"),
    [
        ("", "", "it has no lists to search over. Add for example"),
        ("batch = 4", "", "search.over.batch must be a list of values to try, not 4"),
        ("bach = [4]", "", "unknown setting 'bach'. Did you mean 'batch'"),
        ('arch = ["crp-7"]', "", "arch must be one of small"),
        ("batch = [0]", "", "batch must lie between 1"),
        ("batch = [1]", 'score = "f1"', "score must be one of balanced_accuracy"),
        ("batch = [1]", 'strategy = "grd"', "strategy must be one of grid, random"),
        (f"seed = {list(range(40))}\nbatch = {list(range(1, 41))}", "", "1,600 combinations are more than 1,000"),
    ],
)
def test_what_cannot_be_searched_is_said_before_anything_is_done(
    tmp_path: Path, over: str, search: str, said: str
) -> None:
    import re

    with pytest.raises(UsageError, match=re.escape(said)):
        read_sweep(config(tmp_path, over, search))


def test_a_real_trial_goes_on_where_it_was_broken_off(tmp_path: Path) -> None:
    root = write_cells(tmp_path / "data")
    (root / "cells/ig/x_3.png").write_bytes(b"no")
    settings = tiny_settings(tmp_path, steps=6, validate_every=3)
    whole = run_trial(settings, root, tmp_path / "whole")
    assert whole == read_result(tmp_path / "whole") and whole["steps"] == 6 and whole["cells"] > 4
    assert whole["skipped"] == ["cells/ig/x_3.png (it cannot be decoded)"]
    run_trial(tiny_settings(tmp_path, steps=3, validate_every=3), root, tmp_path / "broken")
    (tmp_path / "broken/result.json").unlink()
    broken = run_trial(settings, root, tmp_path / "broken")
    assert broken.keys() == whole.keys() and broken["steps"] == 6
    (tmp_path / "broken/result.json").write_text("{")
    with pytest.raises(UsageError, match=r"result\.json: it is no result of a trial\. Remove it"):
        read_result(tmp_path / "broken")


def test_trials_run_as_tasks_and_a_workers_death_costs_its_trial(tmp_path: Path) -> None:
    asked = read_sweep(config(tmp_path, "batch = [4, 8, 16]"))
    (tmp_path / "die").touch()
    outcome = sweep(asked, tmp_path, tmp_path / "out", workers=1, do=fake_trial)
    assert list(outcome.failed.values()) == ["its worker died"] and len(outcome.results) == 2
    (tmp_path / "die").unlink()
    outcome = sweep(asked, tmp_path, tmp_path / "out", workers=1, do=fake_trial)
    assert (outcome.kept, len(outcome.results), outcome.failed) == (2, 3, {})
