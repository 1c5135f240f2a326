"""The end of a training: a model folder that runs can use, a plot, and how far the network sees."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from pbsbatch.errors import UsageError
from pbsbatch.models.folder import read_folder
from pbsbatch.nets.detector import DetectorNet, NetSize
from pbsbatch.train.checkpoint import load_weights
from pbsbatch.train.detect import detect, detect_as_run
from pbsbatch.train.detector import BEST, Data, net_size
from pbsbatch.train.finish import MODEL, finish, reach
from pbsbatch.train.metrics import METRICS, Metrics
from tests.train.tiny import load, tiny_settings, trained, write_set

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    root = write_set(tmp_path_factory.mktemp("finish"))
    return load(tiny_settings(root), root)


def test_the_model_folder_holds_the_best_weights_and_what_was_measured(data: Data, tmp_path: Path) -> None:
    settings = tiny_settings(tmp_path, steps=60, validate_every=20, learning_rate=5e-3, ema=0.9)
    trained(settings, data, tmp_path)
    done = finish(settings, tmp_path, data.validation, CPU)
    facts = read_folder(tmp_path / MODEL).facts
    assert (facts.name, facts.work_mpp, facts.stride, facts.context_px) == ("tiny", 0.4, 4, reach(net_size(settings)))
    assert facts.training_data == (("set", "CC0"),)
    assert facts.metrics["validation"] == done.report.table()
    assert facts.metrics["step"] == load_weights(tmp_path / BEST)[1]["step"]
    for name, threshold, line in zip(facts.classes, facts.thresholds, facts.calibration, strict=True):
        row = done.report.classes[name]
        assert (line == (1.0, 0.0)) == (name in done.unseen)
        if row.threshold is not None:
            assert np.log(threshold / (1 - threshold)) == pytest.approx(np.clip(row.threshold, -6.9, 6.9), abs=0.01)
    first = (tmp_path / MODEL / "model.json").read_bytes()
    finish(settings, tmp_path, data.validation, CPU)  # a resumed run ends again
    assert (tmp_path / MODEL / "model.json").read_bytes() == first


def test_what_validation_decodes_is_what_runs_decode(data: Data, tmp_path: Path) -> None:
    from pbsbatch.train.finish import _best, _facts

    changes = {"cross_iou": 1.0, "max_cell_um": 100.0}  # what runs do beyond validation
    settings = tiny_settings(tmp_path, **changes, steps=60, validate_every=60, learning_rate=5e-3, ema=0.9)
    trained(settings, data, tmp_path)
    net, step = _best(settings, tmp_path, CPU)
    quick = detect(net, data.validation, precision="fp32", nms_iou=settings.nms_iou)
    slow = detect_as_run(net, data.validation, _facts(settings, step))
    assert sum(len(c.logits) for c in quick) > 10
    for a, b in zip(quick, slow, strict=True):
        best = np.argsort(-b.logits, kind="stable")[:40]
        near = np.abs(a.boxes[:, None] - b.boxes[best]).max(2) < 0.01  # runs snap boxes to 1/256 px
        alike = np.abs(a.logits[:, None] - b.logits[best]) < 1e-3
        twins = (near & alike & (a.classes[:, None] == b.classes[best])).any(0)
        assert twins.mean() >= 0.95  # an overlap on the very threshold may fall either way


def test_without_weights_there_is_no_model(data: Data, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing was judged yet"):
        finish(tiny_settings(tmp_path), tmp_path, data.validation, CPU)


@pytest.mark.parametrize("size", [NetSize((4, 4, 4, 4), 4, (0, 1, 0), 4), NetSize((4, 4, 4, 4), 4, (1, 0, 1), 8)])
def test_nothing_beyond_reach_changes_what_a_place_says(size: NetSize) -> None:
    torch.manual_seed(0)
    net = DetectorNet(1, size).double().eval().requires_grad_(False)
    far, side = 0, 512
    for index in (size.stride * k for k in range(16 // size.stride)):  # the grids' places repeat every 16 px
        x = torch.rand(1, 3, side, side, dtype=torch.double, requires_grad=True)
        place = (side // 2 + index) // size.stride
        (grad,) = torch.autograd.grad(sum(out[0, :, place, place].abs().sum() for out in net(x)), x)
        rows = grad.abs().sum((0, 1, 3)).nonzero().flatten()
        centre = (place + 0.5) * size.stride
        far = max(far, int(centre - rows.min()), int(rows.max() + 1 - centre))
    assert far == reach(size)


@pytest.mark.filterwarnings("ignore::DeprecationWarning:matplotlib")
def test_the_plot_is_a_picture(data: Data, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    from pbsbatch.train.plot import PLOT, plot

    metrics = Metrics(tmp_path / METRICS, 0)
    plot(tmp_path / METRICS, tmp_path / PLOT)  # nothing to show yet is no error
    for event in trained(tiny_settings(tmp_path, steps=50, validate_every=25), data, tmp_path)[1]:
        metrics.on_event(event)
    empty = cv2.imread(str(tmp_path / PLOT))
    plot(tmp_path / METRICS, tmp_path / PLOT)
    drawn = cv2.imread(str(tmp_path / PLOT))
    assert drawn.shape == empty.shape and (drawn != empty).mean() > 0.001
