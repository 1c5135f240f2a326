"""Every architecture is built by its name, exported whole, and begins with a file's weights where it has a body."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from safetensors.torch import save_file

from pbsbatch.errors import ModelError, PbsbatchError, UsageError
from pbsbatch.models.classifier_facts import ARCHITECTURES
from pbsbatch.models.taxonomy import KINDS
from pbsbatch.nets.architectures import build, parameters
from pbsbatch.nets.backbones import OF_TIMM, OF_TORCHVISION, BackboneNet, fill_body
from pbsbatch.nets.classifier import ClassifierSize, KindsNet
from pbsbatch.train.batches import normalised
from pbsbatch.train.classifier.export import export_classifier
from pbsbatch.train.classifier.finish import Calibrated
from pbsbatch.train.classifier.strange import learn

SIZES = {"inception_v3": 80, "inception_resnet_v2": 80, "nasnetalarge": 64}
SMALL_ONES = [name for name in ARCHITECTURES if name not in (*OF_TORCHVISION, *OF_TIMM)]


def made(arch: str, **how: bool) -> KindsNet:
    torch.manual_seed(2)
    torch.set_num_threads(1)
    return build(arch, len(KINDS), ClassifierSize(SIZES.get(arch, 32)), **how).eval()


def unlike(net: KindsNet) -> tuple[float, float]:
    """Return how far the exported network's logits are from the network's own, and how much they vary."""
    features = np.random.default_rng(0).normal(0, 1, (60, net.kinds.in_features))
    calibrated = Calibrated(1.0, 0.5, 9.0, learn(features, np.arange(60) % 8))
    with torch.no_grad():
        net.kinds.weight.normal_(0, 0.3)
    data = export_classifier(net, calibrated, half=False)
    pixels = np.random.default_rng(1).integers(0, 256, (2, net.crop_px, net.crop_px, 3), np.uint8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    logits, strange = session.run(["logits", "strangeness"], {"pixels": pixels})
    with torch.no_grad():
        own = net(normalised(torch.from_numpy(pixels), net.mean, net.std))[0].numpy()
    assert logits.shape == (2, len(KINDS)) and np.isfinite(strange).all()
    return float(np.abs(logits - own).max()), float(np.ptp(own))


@pytest.mark.parametrize("arch", SMALL_ONES)
def test_a_small_one_is_exported_whole(arch: str) -> None:
    off, varies = unlike(made(arch))
    assert off < 1e-3 * varies and varies > 0


@pytest.mark.parametrize("arch", ["resnet50", "vgg16", "inception_v3"])  # resnet101 is resnet50 with more of the same
def test_a_body_of_torchvision_is_exported_whole(arch: str) -> None:
    off, varies = unlike(made(arch))
    assert off < 1e-3 * varies and varies > 0


@pytest.mark.parametrize("arch", OF_TIMM)
def test_a_body_of_timm_is_exported_whole_or_says_what_it_needs(arch: str) -> None:
    if find_spec("timm") is None:
        with pytest.raises(ModelError, match=r'this architecture needs timm.*pip install "pbsbatch\[train\]"'):
            made(arch)
        return
    off, varies = unlike(made(arch))
    assert off < 1e-3 * varies and varies > 0


def test_stacks_are_as_many_as_said_and_a_dense_layer_more() -> None:
    convolutions = {
        name: sum(isinstance(m, torch.nn.Conv2d) for m in made(name).modules()) for name in ("crp-2", "crp-3", "crp-4")
    }
    assert convolutions == {"crp-2": 2, "crp-3": 3, "crp-4": 4}
    dense = [sum(isinstance(m, torch.nn.Linear) for m in made(name).modules()) for name in ("crp-2", "crp-2-fc")]
    assert dense == [2, 3]
    assert parameters(made("microcell")) < 200_000 < parameters(made("crp-4"))


def test_a_frozen_body_stays_and_its_head_learns() -> None:
    net = made("resnet50", frozen=True).train()
    before = {name: t.clone() for name, t in net.state_dict().items()}
    learns = [p for p in net.parameters() if p.requires_grad]
    optimiser = torch.optim.SGD(learns, lr=0.1)
    net(torch.randn(4, 3, 32, 32))[0].square().sum().backward()
    optimiser.step()
    moved = {name for name, t in net.state_dict().items() if not torch.equal(t, before[name])}
    assert moved and not any(name.startswith("body.") for name in moved)


@pytest.mark.parametrize("arch", ["resnet50", "vgg16"])
def test_a_body_begins_with_torchvisions_file(arch: str, tmp_path: Path) -> None:
    import torchvision

    torch.manual_seed(7)
    if arch == "vgg16":  # what its file holds beside the features is half a gigabyte, and is left out
        own = torchvision.models.vgg16(weights=None).features
        told = {**{f"features.{n}": t for n, t in own.state_dict().items()}, "classifier.6.bias": torch.zeros(1000)}
    else:
        whole = torchvision.models.resnet50(weights=None)
        own, told = torch.nn.Sequential(*list(whole.children())[:-2]), whole.state_dict()
    torch.save(told, tmp_path / "file.pth")
    net = made(arch)
    assert isinstance(net, BackboneNet)
    fill_body(net, tmp_path / "file.pth")
    x = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(net.body(x), own.eval()(x))


def test_weights_that_do_not_fit_are_refused_by_name(tmp_path: Path) -> None:
    net = made("resnet50")
    assert isinstance(net, BackboneNet)
    with pytest.raises(UsageError, match=r"there is no such file. Torchvision's file is resnet50-\w+.pth; torchvision"):
        fill_body(net, tmp_path / "none.pth")
    save_file({"conv1.weight": torch.zeros(2, 2)}, tmp_path / "other.safetensors")
    with pytest.raises(ModelError, match=r"are not those of resnet50: 26[0-9] of 318 are missing or of another shape"):
        fill_body(net, tmp_path / "other.safetensors")
    (tmp_path / "bad.pth").write_bytes(b"no")
    with pytest.raises(PbsbatchError, match=r"bad\.pth"):
        fill_body(net, tmp_path / "bad.pth")
    with pytest.raises(UsageError, match="inception_v3 needs crops of 80 px at least, not 32"):
        build("inception_v3", len(KINDS), ClassifierSize(32))
