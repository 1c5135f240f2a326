"""Where a classifier looks: maps against their definition, layers by name and number, masks in the picture's pixels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from typer.testing import CliRunner

from pbsbatch.cli.data import app
from pbsbatch.errors import UsageError
from pbsbatch.models.folder import write_classifier
from pbsbatch.models.taxonomy import KINDS
from pbsbatch.nets.architectures import build
from pbsbatch.nets.classifier import ClassifierSize
from pbsbatch.nets.export import export_weights
from pbsbatch.train.classifier.export import calibrated_net, export_classifier
from pbsbatch.train.classifier.finish import Calibrated
from pbsbatch.train.classifier.gradcam import GradCam, Looker, layers_of, looker_of, turned
from pbsbatch.train.classifier.strange import learn
from tests.engines.tiny_classifier import FACTS


class Net(nn.Module):
    """A small classifier whose last layers know no places."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(inplace=True))
        self.second = nn.Sequential(nn.Conv2d(4, 6, 3, 2, 1), nn.ReLU(inplace=True))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.out = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.pool(self.second(self.first(x))).flatten(1))


@pytest.fixture
def looker() -> Looker:
    torch.manual_seed(5)
    return Looker(Net().eval(), 32, 0.5, (128.0, 120.0, 110.0), (64.0, 60.0, 50.0))


def crop(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (32, 32, 3), np.uint8)


@pytest.mark.parametrize("layer", ["first.0", "first"])
def test_a_map_is_its_definition(looker: Looker, layer: str) -> None:
    net: Net = looker.net
    rest = nn.Sequential(*([nn.ReLU()] if layer == "first.0" else []), net.second, net.pool, nn.Flatten(1), net.out)
    with torch.no_grad():
        seen = net.get_submodule(layer)(looker.input(crop())).clone()
        logits = rest(seen.clone())[0]
        kind, step = int(logits.argmax()), 1e-2
        slopes = torch.zeros(seen.shape[1])
        for channel in range(seen.shape[1]):  # by differences instead of gradients, a channel at a time
            more = seen.clone()
            more[:, channel] += step
            slopes[channel] = (rest(more)[0, kind] - logits[kind]) / step
    summed = (slopes[None, :, None, None] * seen).sum(1)[0].clamp(min=0)
    expected = (summed / summed.max()).numpy()
    found = looker.maps(crop(), [layer, "second"])
    assert found[layer].shape == (16, 16) and found["second"].shape == (8, 8) and expected.any()
    assert np.abs(found[layer] - expected).max() < 0.15
    assert np.corrcoef(found[layer].ravel(), expected.ravel())[0, 1] > 0.98


def test_the_module_is_left_as_it_was(looker: Looker) -> None:
    before = looker.net(looker.input(crop(1)))
    looker.maps(crop(), ["first"])
    layers_of(looker, "1")
    assert torch.equal(before, looker.net(looker.input(crop(1))))
    assert all(not m._forward_hooks for m in looker.net.modules())


def test_layers_go_by_name_and_number(looker: Looker) -> None:
    assert layers_of(looker) == ("second",)
    assert layers_of(looker, "3, first 1,first 4") == ("second.0", "first", "first.0", "second.1")
    for wrong in ("5", "0", "6", "pool", "out", "third", "²"):
        with pytest.raises(UsageError, match="Layers: 1 to 4, or first, second"):
            layers_of(looker, wrong)


def test_the_studys_eleven_layers_are_counted_as_it_counts_them(tmp_path: Path) -> None:
    net = build("crp-3", len(KINDS), ClassifierSize(32)).eval()
    calibrated = Calibrated(1.0, 0.5, 9.0, learn(np.random.default_rng(0).normal(1, 1, (60, 128)), np.arange(60) % 7))
    facts = replace(FACTS, arch="crp-3", mean=net.mean, std=net.std)
    onnx, weights = export_classifier(net, calibrated), export_weights(calibrated_net(net, calibrated))
    write_classifier(tmp_path / "crp", facts, onnx=onnx, weights=weights)
    looker = looker_of(str(tmp_path / "crp"))
    assert layers_of(looker, "3,4,7") == ("stacks.2", "stacks.3", "stacks.6")  # a pooling and two convolutions
    assert isinstance(looker.net.get_submodule("stacks.2"), nn.MaxPool2d)
    maps = looker.maps(crop(), layers_of(looker, "3 4 7"))
    assert [m.shape for m in maps.values()] == [(16, 16), (16, 16), (8, 8)]


def test_a_mask_lies_where_the_classifier_looked() -> None:
    class Bright(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.seen = nn.Conv2d(3, 1, 1)
            nn.init.ones_(self.seen.weight)
            nn.init.zeros_(self.seen.bias)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            features = self.seen(x).relu().mean((2, 3))
            return torch.cat([features, -features], 1), features

    looker = Looker(Bright().eval(), 48, 0.5, (0.0, 0.0, 0.0), (255.0, 255.0, 255.0))
    image = np.zeros((150, 200, 3), np.uint8)
    cv2.circle(image, (108, 70), 24, (255, 255, 255), -1)
    steps = GradCam(looker, layers_of(looker), 0.25)(image)
    mine = steps.labels > 0
    truth = image[..., 0] > 0
    assert steps.labels.shape == (150, 200)
    assert (mine & truth).sum() / (mine | truth).sum() > 0.75
    assert [name for name, _ in steps.stages] == [
        "picture", "crop", "seen", "assembled", "threshold", "dilated", "mask",
    ]  # fmt: skip
    assert not GradCam(looker, layers_of(looker), 0.25)(np.zeros((90, 90, 3), np.uint8)).labels.any()


def test_a_map_of_the_glass_is_turned_around() -> None:
    y, x = np.mgrid[:48, :48]
    cell = np.exp(-((y - 24) ** 2 + (x - 22) ** 2) / 150).astype(np.float32)
    np.testing.assert_array_equal(turned(cell), cell)
    np.testing.assert_allclose(turned(1 - cell), cell - cell.min(), atol=1e-6)


def test_the_shipped_classifier_makes_masks_of_drawn_cells(tmp_path: Path) -> None:
    from tests.datasets.weak.drawn_cells import cells

    (tmp_path / "in" / "k").mkdir(parents=True)
    (tmp_path / "truth").mkdir()
    for number, (image, mask) in enumerate([*cells(300)][:2]):
        cv2.imwrite(str(tmp_path / "in" / "k" / f"{number}.png"), image[..., ::-1])
        cv2.imwrite(str(tmp_path / "truth" / f"{number}.png"), mask.astype(np.uint8))
    asked = ["masks", str(tmp_path / "in"), "--method", "gradcam", "--mpp", "0.15", "--truth", str(tmp_path / "truth")]
    result = CliRunner().invoke(app, [*asked, "--output", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    assert "2 cells in 2 masks" in result.output and "layers stage16" in result.output
    assert float(result.output.rsplit("(IoU) ", 1)[1].split()[0]) > 0.4
    assert layers_of(looker_of("differential"), "3,4,7") == ("stem.2", "stage4.0.0", "stage4.1.first.0")
    bad = CliRunner().invoke(app, [*asked, "--output", str(tmp_path / "bad"), "--layers", "77"])
    assert isinstance(bad.exception, UsageError) and not (tmp_path / "bad").exists()
