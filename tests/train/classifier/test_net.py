"""The network and its file: what engines run is what was trained."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from pbsbatch.models.taxonomy import KINDS
from pbsbatch.nets.classifier import ClassifierNet, ClassifierSize
from pbsbatch.nets.detector import Served
from pbsbatch.train.batches import MEAN, STD, normalised
from pbsbatch.train.classifier.export import export_classifier
from pbsbatch.train.classifier.finish import Calibrated
from pbsbatch.train.classifier.strange import Strangeness, learn

SIZE = ClassifierSize(32, (4, 8, 8, 12), (1, 0, 1))


@pytest.fixture(scope="module")
def net() -> ClassifierNet:
    torch.manual_seed(1)
    net = ClassifierNet(len(KINDS), SIZE, dropout=0.5).eval()
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.3)
                module.running_var.uniform_(0.5, 2)
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_(0, 0.3)
            if isinstance(module, torch.nn.Conv2d):
                module.weight.copy_(module.weight.half())  # as they are stored
        net.kinds.weight.normal_(0, 1)
        net.kinds.bias.normal_(0, 1)
    return net


def crops(count: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(count).integers(0, 256, (count, 32, 32, 3), np.uint8))


@torch.no_grad()
def test_the_file_says_what_the_network_says(net: ClassifierNet) -> None:
    features = net(normalised(crops(60)))[1].double().numpy()
    strange = learn(features, np.arange(60) % 8)
    calibrated = Calibrated(0.7, 0.9, 4.0, strange)
    data = export_classifier(net, calibrated)
    assert data == export_classifier(net, calibrated)
    session = onnxruntime.InferenceSession(data)
    assert [(p.name, p.shape) for p in session.get_inputs()] == [("pixels", ["batch", 32, 32, 3])]
    for count in (1, 5):
        logits, features = net(normalised(crops(count)))
        found = session.run(["logits", "strangeness"], {"pixels": crops(count).numpy()})
        np.testing.assert_allclose(found[0], logits / 0.7, rtol=1e-3, atol=1e-3)
        np.testing.assert_allclose(found[1], strange.of(features.double().numpy()), rtol=1e-3)
        assert logits.std() > 0.01 and found[1].shape == (count,)
        served = Served(net, MEAN, STD)(crops(count))
        for s, w in zip(served, (logits, features), strict=True):
            torch.testing.assert_close(s, w, rtol=1e-4, atol=1e-4)


def test_only_plain_operators_are_in_the_file(net: ClassifierNet) -> None:
    strange = Strangeness(np.zeros((8, 12)), np.eye(12))
    graph = onnx.load_from_string(export_classifier(net, Calibrated(1.0, 0.9, 4.0, strange))).graph
    assert {n.op_type for n in graph.node} == {
        "Transpose", "Cast", "Mul", "Add", "Conv", "Relu", "GlobalAveragePool", "Flatten", "Gemm",
        "BatchNormalization", "ReduceSum", "Unsqueeze", "Sub", "ReduceSumSquare", "ReduceMin", "Sqrt",
    }  # fmt: skip


@torch.no_grad()
def test_the_middle_counts_most(net: ClassifierNet) -> None:
    window = net.window[0, 0]
    assert window.mean() == pytest.approx(1)
    torch.testing.assert_close(window, window.flip(0))
    torch.testing.assert_close(window, window.T)
    wide = ClassifierNet(3, ClassifierSize(128)).window[0, 0]
    assert wide[3, 3] == wide.max() and wide[0, 0] == wide.min() < 0.2 * wide.max()


def test_the_default_is_small() -> None:
    assert sum(p.numel() for p in ClassifierNet(len(KINDS), ClassifierSize()).parameters()) < 1_500_000


@pytest.mark.parametrize("size", [{"crop_px": 100}, {"crop_px": 0}, {"channels": (0, 1, 1, 1)}, {"blocks": (-1, 0, 0)}])
def test_what_cannot_be_built_is_refused(size: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"multiple of 16|at least one channel"):
        ClassifierSize(**size)  # type: ignore[arg-type]
