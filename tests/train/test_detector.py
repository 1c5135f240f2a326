"""The loop: it learns, it goes on exactly where it stopped, and it stops before it does harm."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from pbsbatch.errors import UsageError
from pbsbatch.nets.export import export_weights
from pbsbatch.train.checkpoint import load_weights
from pbsbatch.train.detector import BEST, CHECKPOINT, Data, Judged, Taught, TrainingError, begin, teach
from pbsbatch.train.metrics import METRICS, Metrics, read_metrics
from tests.train.tiny import load, tiny_settings, trained, write_set


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    root = write_set(tmp_path_factory.mktemp("loop"))
    return load(tiny_settings(root), root)


def test_the_loss_falls_and_the_best_weights_are_kept(data: Data, tmp_path: Path) -> None:
    settings = tiny_settings(tmp_path, steps=150, validate_every=75, learning_rate=5e-3, ema=0.9)
    run, events = trained(settings, data, tmp_path)
    totals = [e.total for e in events if isinstance(e, Taught)]
    judged = [e for e in events if isinstance(e, Judged)]
    assert len(totals) == 150
    assert sum(totals[-20:]) / 20 < 0.75 * sum(totals[:10]) / 10
    assert [e.step for e in judged] == [75, 150]
    assert judged[0].best
    best = max(judged, key=lambda e: e.report.map)
    _, rest = load_weights(tmp_path / BEST)
    assert rest["step"] == best.step
    assert run.best == best.report.map


def test_the_rate_rises_in_a_line_and_falls_along_a_cosine(data: Data, tmp_path: Path) -> None:
    settings = tiny_settings(tmp_path, steps=20, warm_up=5, learning_rate=1e-3, validate_every=20)
    rates = [e.rate for e in trained(settings, data, tmp_path)[1] if isinstance(e, Taught)]
    assert rates[0] == pytest.approx(2e-4)
    assert max(rates) == rates[4]
    assert rates[4:] == sorted(rates[4:], reverse=True)
    assert rates[-1] < 0.03e-3


def test_a_run_with_a_break_is_the_run_without(data: Data, tmp_path: Path) -> None:
    settings = tiny_settings(tmp_path)
    _, whole = trained(settings, data, tmp_path / "whole")
    run, first = trained(settings, data, tmp_path / "broken", until=7)
    assert run.step == 7
    _, second = trained(settings, data, tmp_path / "broken", resume=True)
    losses = [[e.total for e in events if isinstance(e, Taught)] for events in (whole, first + second)]
    assert losses[0] == losses[1]
    for name in (CHECKPOINT, BEST):
        (a, rest_a), (b, rest_b) = (load_weights(tmp_path / folder / name) for folder in ("whole", "broken"))
        assert a.keys() == b.keys()
        assert all(torch.equal(a[key], b[key]) for key in a)
        assert rest_a["step"] == rest_b["step"] and rest_a["best"] == rest_b["best"]


def test_another_seed_is_another_run(data: Data, tmp_path: Path) -> None:
    runs = [trained(tiny_settings(tmp_path, seed=s, steps=2), data, tmp_path / str(s))[1] for s in (1, 2)]
    assert runs[0][0] != runs[1][0]


def test_metrics_of_a_run_with_a_break_are_those_without(data: Data, tmp_path: Path) -> None:
    settings = tiny_settings(tmp_path, steps=120, validate_every=60)
    lines = []
    for folder, stops in (("whole", [120]), ("broken", [70, 120])):
        output = tmp_path / folder
        output.mkdir()
        for until in stops:
            run = begin(settings, output, torch.device("cpu"), resume=until != stops[0])
            metrics = Metrics(output / METRICS, run.step)
            for event in teach(run, data, output, lambda r, until=until: r.step >= until):  # type: ignore[misc]
                metrics.on_event(event)
            if until == 70:
                with (output / METRICS).open("ab") as file:
                    file.write(b'{"kind": "taught", "step": 90, "total": 0}\n{"torn')
        lines.append(read_metrics(output / METRICS))
    whole, broken = lines
    assert [(r["kind"], r["step"]) for r in whole] == [("taught", 50), ("judged", 60), ("taught", 100), ("judged", 120)]
    assert [(r["kind"], r["step"]) for r in broken] == [(r["kind"], r["step"]) for r in whole]
    assert broken[0]["total"] == whole[0]["total"]
    assert [r["report"] for r in broken[1::2]] == [r["report"] for r in whole[1::2]]


def test_a_loss_that_is_not_finite_stops_the_run_and_spares_the_checkpoint(data: Data, tmp_path: Path) -> None:
    settings = tiny_settings(tmp_path)
    trained(settings, data, tmp_path, until=4)
    before = (tmp_path / CHECKPOINT).read_bytes()
    run = begin(settings, tmp_path, torch.device("cpu"), resume=True)
    with torch.no_grad():
        run.net.scores.weight[0, 0] = float("nan")
    with pytest.raises(TrainingError, match="not finite in step 5"):
        list(teach(run, data, tmp_path))
    assert (tmp_path / CHECKPOINT).read_bytes() == before


def test_a_run_is_not_written_over_and_not_mixed_with_another(data: Data, tmp_path: Path) -> None:
    trained(tiny_settings(tmp_path), data, tmp_path, until=2)
    cpu = torch.device("cpu")
    with pytest.raises(UsageError, match="a run stands there already"):
        begin(tiny_settings(tmp_path), tmp_path, cpu, resume=False)
    with pytest.raises(UsageError, match="begun with another learning_rate"):
        begin(tiny_settings(tmp_path, learning_rate=1e-4), tmp_path, cpu, resume=True)
    assert begin(tiny_settings(tmp_path, steps=40, loaders=2), tmp_path, cpu, resume=True).step == 2


def test_a_damaged_checkpoint_is_named(data: Data, tmp_path: Path) -> None:
    settings = tiny_settings(tmp_path)
    trained(settings, data, tmp_path, until=2)
    file = tmp_path / CHECKPOINT
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(UsageError, match=r"checkpoint\.safetensors: no checkpoint that can be read"):
        begin(settings, tmp_path, torch.device("cpu"), resume=True)


def test_the_last_share_of_a_run_is_calm_with_or_without_a_break(data: Data, tmp_path: Path) -> None:
    calm = {"share": 0.5, "variety": {"stain": 0.0, "harm": 0.0, "scale": 0.0, "turns": 0.0}}
    losses = {}
    for name, settings in (("wild", tiny_settings(tmp_path)), ("calm", tiny_settings(tmp_path, calm=calm))):
        losses[name] = [e.total for e in trained(settings, data, tmp_path / name)[1] if isinstance(e, Taught)]
    assert losses["calm"][:10] == losses["wild"][:10]
    assert losses["calm"][10] != losses["wild"][10]
    settings = tiny_settings(tmp_path, calm=calm)
    first = trained(settings, data, tmp_path / "broken", until=13)[1]
    second = trained(settings, data, tmp_path / "broken", resume=True)[1]
    assert [e.total for e in first + second if isinstance(e, Taught)] == losses["calm"]


def test_a_run_can_start_from_a_models_weights_and_goes_on_without_them(data: Data, tmp_path: Path) -> None:
    run, _ = trained(tiny_settings(tmp_path), data, tmp_path / "first")
    source = tmp_path / "weights.safetensors"
    source.write_bytes(export_weights(run.ema.net))
    kept = load_file(source)  # in two bytes each
    torch.testing.assert_close(kept["kind.0.weight"].float(), run.ema.net.kind[0].weight, atol=1e-3, rtol=1e-3)
    cpu = torch.device("cpu")
    tuned = begin(tiny_settings(tmp_path), tmp_path / "second", cpu, resume=False, weights=source)
    for net in (tuned.net, tuned.ema.net):
        mine = net.state_dict()
        assert mine.keys() == kept.keys()
        assert all(torch.equal(mine[name].float(), t.float()) for name, t in kept.items())
    assert tuned.step == 0
    again = begin(tiny_settings(tmp_path), tmp_path / "first", cpu, resume=True, weights=source)
    assert again.step == run.step
    assert not torch.equal(again.net.scores.weight, run.ema.net.scores.weight)


def test_weights_of_another_network_and_what_is_none_are_named(data: Data, tmp_path: Path) -> None:
    run, _ = trained(tiny_settings(tmp_path), data, tmp_path / "first", until=1)
    source = tmp_path / "weights.safetensors"
    source.write_bytes(export_weights(run.net))
    cpu = torch.device("cpu")
    other = tiny_settings(tmp_path, network={"channels": [4, 8, 8, 16], "head": 8, "blocks": [0, 1, 0]})
    with pytest.raises(UsageError, match=r"another network: size mismatch for .*Give \[network\]"):
        begin(other, tmp_path / "second", cpu, resume=False, weights=source)
    source.write_bytes(b"PK\x03\x04 no tensors")
    with pytest.raises(UsageError, match="no weights that can be read"):
        begin(tiny_settings(tmp_path), tmp_path / "second", cpu, resume=False, weights=source)
