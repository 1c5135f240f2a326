"""Run a sweep's trials as Dask tasks; what is done stands in the output folder and is not done again.

Laws. A trial that fails costs that trial, and is tried again when the sweep is. Dask holds no trial that no worker is
at: a death is one trial's, and a stop leaves the rest untouched. The table, the best settings and the next sweep are
written after each end.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pbsbatch.config import Config, cores
from pbsbatch.disk import make_folder, output_errors, write_atomic
from pbsbatch.errors import PbsbatchError, one_line
from pbsbatch.run.cluster import Cluster, connect_bare, death_of
from pbsbatch.train.classifier.report import write_rows
from pbsbatch.train.sweep.plan import Sweep, Trial, merged
from pbsbatch.train.sweep.table import Next, next_step, ranked, rows_of, toml_of
from pbsbatch.train.sweep.trial import Do, read_result, run_trial

__all__ = ["BEST", "NEXT", "TABLE", "Outcome", "sweep"]

TABLE, BEST, NEXT, TRIALS = "table.csv", "best.toml", "next.toml", "trials"
SECONDS_BETWEEN_LOOKS = 0.1


@dataclass(slots=True)
class Outcome:
    """How a sweep stands: the one value that changes."""

    results: dict[str, Mapping[str, Any]] = field(default_factory=dict)  # by trial
    failed: dict[str, str] = field(default_factory=dict)
    kept: int = 0  # were done before
    stopped: bool = False
    best: Trial | None = None
    next: Next | None = None


def sweep(
    asked: Sweep, data: Path, output: Path, *, workers: int | None = None, scheduler: str | None = None,
    do: Do = run_trial, on_end: Callable[[Trial, Outcome], None] = lambda trial, outcome: None,
    stop: Callable[[], bool] = lambda: False,
) -> Outcome:  # fmt: skip
    """Do what is not done yet; return how it stands."""
    with output_errors(output):
        make_folder(output / TRIALS)
    done = {t.id: told for t in asked.trials if (told := read_result(output / TRIALS / t.id)) is not None}
    outcome = Outcome(dict(done), kept=len(done))
    left = [trial for trial in asked.trials if trial.id not in done]
    if left:
        config = Config(workers=min(workers or cores(), len(left)), scheduler=scheduler)
        with connect_bare(config) as cluster:
            _work(cluster, left, (data.resolve(), output.resolve()), do, outcome, asked, on_end, stop)
    _write(asked, output, outcome)
    return outcome


def _work(
    cluster: Cluster, left: list[Trial], where: tuple[Path, Path], do: Do, outcome: Outcome, asked: Sweep,
    on_end: Callable[[Trial, Outcome], None], stop: Callable[[], bool],
) -> None:  # fmt: skip
    """Keep the workers busy until nothing is left, or `stop` says so."""
    data, output = where
    waiting, flying = list(reversed(left)), list[tuple[Trial, Any]]()
    while waiting or flying:
        if stop():
            outcome.stopped = True
            cluster.abandon([future for _, future in flying])
            return
        while waiting and len(flying) < max(1, cluster.workers()):
            trial = waiting.pop()
            flying.append((trial, cluster.submit(do, trial.settings, data, output / TRIALS / trial.id)))
        ended = [pair for pair in flying if pair[1].done()]
        for trial, future in ended:
            flying.remove((trial, future))
            _take(trial, future, outcome)
            _write(asked, output, outcome)
            on_end(trial, outcome)
        if not ended:
            time.sleep(SECONDS_BETWEEN_LOOKS)


def _take(trial: Trial, future: Any, outcome: Outcome) -> None:
    """Note how a trial ended."""
    error = future.exception()
    if error is None:
        outcome.results[trial.id] = dict(future.result())
    elif death_of(error) is not None:
        outcome.failed[trial.id] = "its worker died"
    elif isinstance(error, PbsbatchError):
        outcome.failed[trial.id] = str(error)
    else:
        outcome.failed[trial.id] = f"{type(error).__name__}: {one_line(error)[:300]}"
    future.release()


def _write(asked: Sweep, output: Path, outcome: Outcome) -> None:
    """Write the table, the best settings and the next sweep."""
    write_rows(output / TABLE, rows_of(asked, outcome.results, outcome.failed))
    order = ranked(asked, outcome.results)
    if not order:
        return
    outcome.best = order[0]
    outcome.next = next_step(asked, outcome.best)
    settings = merged(asked.base, outcome.best.values)
    del settings["loaders"]  # that there are none is the sweep's affair
    _put(output / BEST, toml_of(settings, {}))
    if outcome.next.over:
        search = {"strategy": "grid", "score": asked.search.score}
        _put(output / NEXT, toml_of(settings, {"search": search, "search.over": outcome.next.over}))
    else:
        (output / NEXT).unlink(missing_ok=True)


def _put(path: Path, text: str) -> None:
    with output_errors(path):
        write_atomic(path, [text.encode()])
