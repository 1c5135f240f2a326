"""A classifier runs on every engine alike, and its folder is checked like a detector's."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from onnx import load_from_string as onnx_model

from pbsbatch.engines.base import DenseEngine
from pbsbatch.engines.load import load_classifier
from pbsbatch.errors import EngineError, ModelError
from pbsbatch.models.classifier import CellClassifier
from pbsbatch.models.folder import ClassifierFolder, read_classifier, read_folder, write_classifier
from pbsbatch.models.taxonomy import ABNORMAL, CALLED, KINDS, TYPES, UNSURE
from tests.engines.tiny import tiny_folder
from tests.engines.tiny_classifier import FACTS, tiny_classifier, tiny_files


@pytest.fixture(scope="module")
def types(tmp_path_factory: pytest.TempPathFactory) -> ClassifierFolder:
    return tiny_classifier(tmp_path_factory.mktemp("models") / "types")


def crops(count: int, seed: int = 0) -> np.ndarray:
    """Return smooth blobs of many colours."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (count, 4, 4, 3)).astype(np.uint8)
    return np.repeat(np.repeat(coarse, 8, 1), 8, 2)


def test_engines_agree_and_a_crop_depends_on_itself_alone(types: ClassifierFolder) -> None:
    model = CellClassifier(types)
    openvino = load_classifier(model, precision="fp32", threads=1)
    torch = load_classifier(model, "torch", threads=1)
    assert (openvino.name, openvino.precision, torch.name, torch.precision) == ("openvino", "fp32", "torch", "fp32")
    pixels = crops(9)
    found, expected = openvino(pixels), torch(pixels)
    assert found["logits"].shape == (9, len(KINDS)) and found["strangeness"].shape == (9,)
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=2e-3, atol=2e-3)
    assert np.ptp(expected["strangeness"]) > 0.1 and np.ptp(expected["logits"], axis=0).max() > 0.1
    mixed = openvino(pixels[[4, 0]])
    for name, values in found.items():
        np.testing.assert_array_equal(mixed[name], values[[4, 0]])
    for engine in (openvino, torch):
        engine.close()


@pytest.mark.parametrize("asked", ["auto", "openvino", "opencv"])
def test_beside_the_classical_model_it_runs_on_openvino(types: ClassifierFolder, asked: str) -> None:
    engine = load_classifier(CellClassifier(types), asked, threads=1)
    assert engine.name == "openvino"
    engine.close()


def test_names_are_those_of_the_taxonomy(types: ClassifierFolder) -> None:
    sharp = replace(types, facts=replace(FACTS, sure_from=0.9, strange_from=5.0))
    logits = np.full((3, len(KINDS)), -9.0, np.float32)
    logits[[0, 1, 2], [KINDS.index("eosinophil"), KINDS.index("band_neutrophil"), KINDS.index("monocyte")]] = 9
    logits[2, KINDS.index("lymphocyte")] = 9.0
    called, chances = CellClassifier(sharp).names({"logits": logits, "strangeness": np.array([1, 9, 1], np.float32)})
    assert [CALLED[i] for i in called] == ["eosinophil", ABNORMAL, UNSURE]
    assert called.dtype == np.uint8 and CALLED[: len(TYPES)] == TYPES
    np.testing.assert_allclose(chances, [1, 1, 0.5], atol=1e-4)
    for bad in ({"logits": logits}, {"logits": logits * np.nan, "strangeness": np.zeros(3)}):
        with pytest.raises(EngineError, match="does not fit the classifier tiny-types"):
            CellClassifier(sharp).names(bad)


def test_a_folder_of_the_other_kind_is_named(types: ClassifierFolder, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"a classifier of cells, not a detector.*--classifier"):
        read_folder(types.path)
    detector = tiny_folder(tmp_path / "d")
    with pytest.raises(ModelError, match=r"a detector, not a classifier.*--model"):
        read_classifier(detector.path)
    assert read_classifier(types.path) == types


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"crop_px": 48}, r"its one input must be pixels, uint8 \(batch, 48, 48, 3\)"),
        ({"crop_px": 40}, "crop_px must be a multiple of 16"),
        ({"kinds": KINDS[::-1]}, "kinds must be segmented_neutrophil"),
        ({"sure_from": 2.0}, "sure_from must be a number"),
        ({"strange_from": -1.0}, "strange_from must be a number"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, change: dict[str, object], said: str) -> None:
    onnx, weights = tiny_files()
    with pytest.raises(ModelError, match=said):
        write_classifier(tmp_path / "m", replace(FACTS, **change), onnx=onnx, weights=weights)
    assert not (tmp_path / "m").exists()


def test_the_digest_holds_thresholds_and_weights(tmp_path: Path, types: ClassifierFolder) -> None:
    onnx, weights = tiny_files()
    other = write_classifier(tmp_path / "m", replace(FACTS, sure_from=0.21), onnx=onnx, weights=weights)
    assert CellClassifier(other).digest != CellClassifier(types).digest


def test_strangeness_is_left_in_float32_where_an_engine_computes_in_bf16() -> None:
    """Engines round what goes into a convolution or a MatMul; behind the features there is none but the logits' own."""
    network = onnx_model(tiny_files()[0])
    (logits,) = (node for node in network.graph.node if "logits" in node.output)
    later = {logits.input[0]}
    for node in network.graph.node:
        if later & set(node.input):
            later |= set(node.output)
            assert node is logits or node.op_type not in ("MatMul", "Gemm", "Conv"), node.name
    assert "strangeness" in later


def test_auto_says_why_it_is_not_in_bf16(types: ClassifierFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(engine: DenseEngine, *_: object) -> None:
        if engine.precision == "bf16":
            raise EngineError("off by too much")

    monkeypatch.setattr(import_module("pbsbatch.engines.load"), "pass_gate", refuse)
    monkeypatch.setattr("pbsbatch.engines.openvino.has_bf16", lambda: True)
    engine = load_classifier(CellClassifier(types), threads=1)
    assert (engine.name, engine.precision) == ("openvino", "fp32")
    assert "not on openvino bf16: off by too much" in engine.notes
    engine.close()
