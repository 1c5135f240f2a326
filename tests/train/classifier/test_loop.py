"""The loop: it learns, it goes on exactly where it stopped, and it stops before it does harm."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pbsbatch.errors import UsageError
from pbsbatch.train.checkpoint import load_weights
from pbsbatch.train.classifier.loop import Judged, Taught, begin, teach
from pbsbatch.train.classifier.pictures import Split
from pbsbatch.train.detector import BEST, CHECKPOINT, TrainingError
from pbsbatch.train.metrics import CLASSIFIER_MEANS, METRICS, Metrics, read_metrics
from tests.train.classifier.tiny import splits, tiny_settings, trained, write_cells

Parts = dict[str, Split]


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Parts:
    return splits(write_cells(tmp_path_factory.mktemp("loop")))


def test_it_learns_and_the_best_weights_are_kept(parts: Parts, tmp_path: Path) -> None:
    settings = tiny_settings(tmp_path, steps=120, validate_every=60, batch=8, learning_rate=1e-2, ema=0.9, strength=0.5)
    run, events = trained(settings, parts, tmp_path)
    totals = [e.total for e in events if isinstance(e, Taught)]
    judged = [e for e in events if isinstance(e, Judged)]
    assert len(totals) == 120 and [e.step for e in judged] == [60, 120] and judged[0].best
    assert sum(totals[-20:]) < 0.6 * sum(totals[:20])
    best = min(judged, key=lambda e: e.report.log_loss)
    assert best.report.accuracy > 0.85
    assert load_weights(tmp_path / BEST)[1]["step"] == best.step and run.best == best.report.log_loss


def test_a_run_with_a_break_is_the_run_without(parts: Parts, tmp_path: Path) -> None:
    settings = tiny_settings(tmp_path, dropout=0.5)
    _, whole = trained(settings, parts, tmp_path / "whole")
    run, first = trained(settings, parts, tmp_path / "broken", until=5)
    assert run.step == 5
    _, second = trained(settings, parts, tmp_path / "broken", resume=True)
    losses = [[e.total for e in events if isinstance(e, Taught)] for events in (whole, first + second)]
    assert losses[0] == losses[1] and len(losses[0]) == 12
    for name in (CHECKPOINT, BEST):
        (a, rest_a), (b, rest_b) = (load_weights(tmp_path / folder / name) for folder in ("whole", "broken"))
        assert a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)
        assert rest_a["step"] == rest_b["step"] and rest_a["best"] == rest_b["best"]


def test_a_run_may_be_told_how_long_instead_of_how_far(parts: Parts, tmp_path: Path) -> None:
    run, events = trained(tiny_settings(tmp_path, minutes=0.03, validate_every=10**6), parts, tmp_path)
    rates = [e.rate for e in events if isinstance(e, Taught)]
    assert run.share == 1 and 1.8 <= run.seconds < 30 and isinstance(events[-1], Judged)
    assert rates[-1] < rates[len(rates) // 2]


def test_processes_that_cut_crops_change_nothing(parts: Parts, tmp_path: Path) -> None:
    runs = [
        trained(tiny_settings(tmp_path, loaders=n, steps=3), parts, tmp_path / str(n))[1] for n in (0, 2)
    ]  # fmt: skip
    assert [e.total for e in runs[0][:3] if isinstance(e, Taught)] == [
        e.total for e in runs[1][:3] if isinstance(e, Taught)
    ]


def test_metrics_of_a_run_with_a_break_are_those_without(parts: Parts, tmp_path: Path) -> None:
    settings = tiny_settings(tmp_path, steps=120, validate_every=60)
    rows = []
    for folder, stops in (("whole", [120]), ("broken", [70, 120])):
        (output := tmp_path / folder).mkdir()
        for until in stops:
            run = begin(settings, output, torch.device("cpu"), resume=until != stops[0])
            metrics = Metrics(output / METRICS, run.step, CLASSIFIER_MEANS)
            for event in teach(run, parts["train"], parts["calibration"], output, lambda r, u=until: r.step >= u):  # type: ignore[misc]
                metrics.on_event(event)
        rows.append(read_metrics(output / METRICS))
    assert [(r["kind"], r["step"]) for r in rows[0]] == [
        ("taught", 50), ("judged", 60), ("taught", 100), ("judged", 120),
    ]  # fmt: skip
    assert [(r["kind"], r["step"]) for r in rows[1]] == [(r["kind"], r["step"]) for r in rows[0]]
    assert [r["report"] for r in rows[0] if r["kind"] == "judged"] == [
        r["report"] for r in rows[1] if r["kind"] == "judged"
    ]
    assert rows[0][0]["total"] == rows[1][0]["total"]


def test_a_loss_that_is_not_finite_stops_the_run_and_spares_the_checkpoint(parts: Parts, tmp_path: Path) -> None:
    settings = tiny_settings(tmp_path)
    trained(settings, parts, tmp_path, until=4)
    before = (tmp_path / CHECKPOINT).read_bytes()
    run = begin(settings, tmp_path, torch.device("cpu"), resume=True)
    with torch.no_grad():
        run.net.kinds.weight[0, 0] = float("nan")
    with pytest.raises(TrainingError, match="not finite in step 5"):
        list(teach(run, parts["train"], parts["calibration"], tmp_path))
    assert (tmp_path / CHECKPOINT).read_bytes() == before


def test_a_run_is_not_written_over_and_not_mixed_with_another(parts: Parts, tmp_path: Path) -> None:
    trained(tiny_settings(tmp_path), parts, tmp_path, until=2)
    cpu = torch.device("cpu")
    with pytest.raises(UsageError, match="a run stands there already"):
        begin(tiny_settings(tmp_path), tmp_path, cpu, resume=False)
    with pytest.raises(UsageError, match="begun with another batch"):
        begin(tiny_settings(tmp_path, batch=5), tmp_path, cpu, resume=True)
    assert begin(tiny_settings(tmp_path, loaders=1, steps=13), tmp_path, cpu, resume=True).step == 2
