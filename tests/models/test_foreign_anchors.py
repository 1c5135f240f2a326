"""Torchvision's one-stage detectors: boxes and chances are those that torchvision decodes from the same numbers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from scipy.spatial import cKDTree

from pbsbatch.engines.load import load as load_engine
from pbsbatch.errors import EngineError, ModelError
from pbsbatch.models.anchors import anchors
from pbsbatch.models.foreign_facts import ForeignFacts, foreign_from_json
from pbsbatch.models.foreign_heads import rows_of
from pbsbatch.models.load import load

SIDE = 160  # at stride 32 five places, at 64 three: an odd side is halved upwards
SMALL = {"anchor_px": [[24, 30], [48, 60]], "aspects": [0.5, 1.0]}
TABLE = {
    "kind": "foreign-detector", "head": "fcos", "name": "my-fcos", "classes": ["RBC", "", "Platelet"], "input_px": SIDE,
    "red_cell_px": 29, "threshold": 0.3, "mean": [123.675, 116.28, 103.53], "std": [58.395, 57.12, 57.375],
}  # fmt: skip
COLUMNS = {"cls_logits": 3, "bbox_regression": 4, "bbox_ctrness": 1}


def facts_of(head: str, **more: object) -> ForeignFacts:
    return foreign_from_json({**TABLE, "head": head, **more}, Path("model.json"))


def numbers(facts: ForeignFacts, seed: int = 0) -> dict[str, np.ndarray]:
    """Return what a head might say, one slot of it."""
    rng = np.random.default_rng(seed)
    rows = len(anchors(SIDE, facts.anchor_px, facts.aspects))
    out = {name: rng.normal(0, 1.5, (rows, n)).astype(np.float32) for name, n in COLUMNS.items()}
    if facts.head == "fcos":
        out["bbox_regression"] = np.abs(out["bbox_regression"])  # the head ends with a ReLU
    else:
        del out["bbox_ctrness"]
        out["bbox_regression"][:7, 2:] = 9.0  # beyond what its exponential is let grow to
    return out


@pytest.mark.parametrize(("head", "more"), [("fcos", {}), ("retinanet", {}), ("retinanet", SMALL)])
def test_boxes_and_chances_are_torchvisions(head: str, more: dict[str, object]) -> None:
    torch = pytest.importorskip("torch")
    detection = pytest.importorskip("torchvision.models.detection")
    from torchvision.models.detection.anchor_utils import AnchorGenerator
    from torchvision.models.detection.image_list import ImageList

    facts = facts_of(head, **more)
    raw = numbers(facts)

    class Bone(torch.nn.Module):  # type: ignore[misc, name-defined]
        out_channels = 32

    made = AnchorGenerator(facts.anchor_px, (facts.aspects,) * len(facts.anchor_px))
    kind = {"fcos": detection.FCOS, "retinanet": detection.RetinaNet}[head]
    net = kind(Bone(), 3, anchor_generator=made, score_thresh=0.0, nms_thresh=1.0, detections_per_img=10**6,
               topk_candidates=10**6)  # fmt: skip
    grids = [20, 10, 5, 3, 2][: len(facts.anchor_px)]
    theirs = made(ImageList(torch.zeros(1, 3, SIDE, SIDE), [(SIDE, SIDE)]), [torch.zeros(1, 32, g, g) for g in grids])
    np.testing.assert_array_equal(anchors(SIDE, facts.anchor_px, facts.aspects), theirs[0].numpy())
    per_level = [g * g * len(s) * len(facts.aspects) for g, s in zip(grids, facts.anchor_px, strict=True)]
    split = {name: list(torch.from_numpy(v)[None].split(per_level, 1)) for name, v in raw.items()}
    found = net.postprocess_detections(split, [list(theirs[0].split(per_level))], [(SIDE, SIDE)])[0]

    boxes, chances = rows_of(raw, facts)
    row, column = np.divmod(np.arange(chances.size), 3)
    ours = np.concatenate([boxes[row].clip(0, SIDE), chances.reshape(-1, 1), column[:, None]], 1)
    wanted = np.concatenate(
        [found["boxes"].numpy(), found["scores"].numpy()[:, None], found["labels"].numpy()[:, None]], 1
    )
    solid = (ours[:, 2:4] > ours[:, :2]).all(1)  # what lies wholly outside has no area: which of them NMS keeps varies
    wanted = wanted[(wanted[:, 2:4] > wanted[:, :2]).all(1)]
    ours = ours[solid]
    assert len(ours) == len(wanted) > 500
    apart, which = cKDTree(ours).query(wanted)  # theirs come by falling score, in which some are alike
    assert apart.max() < 1e-3 and len(np.unique(which)) == len(ours)


def folder(path: Path, raw: dict[str, np.ndarray], **changes: object) -> Path:
    """Write a network that says the same of every picture."""
    names = {name: [1, *values.shape] for name, values in raw.items()}
    nodes = [helper.make_node("ReduceMean", ["images"], ["mean"], keepdims=0),
             helper.make_node("Mul", ["mean", "zero"], ["nothing"])]  # fmt: skip
    nodes += [helper.make_node("Add", [f"{name}_values", "nothing"], [name]) for name in raw]
    values = [numpy_helper.from_array(v[None], f"{name}_values") for name, v in raw.items()]
    values.append(numpy_helper.from_array(np.zeros(1, np.float32), "zero"))
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n, shape in names.items()], values,
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.mkdir()
    (path / "model.json").write_text(json.dumps({**TABLE, **changes}))
    onnx.save(model, path / "model.onnx")
    return path


def test_a_folder_runs_and_its_cells_lie_where_the_numbers_say(tmp_path: Path) -> None:
    facts = facts_of("fcos")
    raw = {name: np.full_like(v, -9.0) for name, v in numbers(facts).items()}
    place = 7 * 20 + 5  # of the finest grid: its centre is (40, 56)
    raw["cls_logits"][place, 2] = raw["bbox_ctrness"][place] = 3.0
    raw["bbox_regression"][place] = [1.0, 1.5, 2.0, 2.5]  # left, top, right, bottom, in anchors of 8 px
    model = load(str(folder(tmp_path / "m", raw)))
    engine = load_engine(model, threads=1)
    found = model.decode(engine(np.full((1, SIDE, SIDE, 3), 200, np.uint8)), 0, {})
    engine.close()
    assert model.spec.classes == ("RBC", "Platelet") and found.classes.tolist() == [1]
    np.testing.assert_allclose(found.boxes, [[32, 44, 56, 76]], atol=1e-3)
    np.testing.assert_allclose(found.scores, [1 / (1 + np.exp(-3.0))], atol=1e-5)
    broken = {name: v[None] for name, v in raw.items()}
    broken["cls_logits"] = np.full_like(broken["cls_logits"], np.nan)
    with pytest.raises(EngineError, match="not finite"):
        model.decode(broken, 0, {})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"anchor_px": [[8], []]}, "anchor_px must be lists of 1 to 16 sides"),
        ({"aspects": [0]}, "aspects must be a number from 0.05 to 20"),
        ({"head": "yolo", "aspects": [1]}, "aspects is unknown"),
        ({"classes": ["RBC"]}, r"cls_logits has the shape \(1, 538, 3\).*\(1, 538, 1\)"),
        ({"anchor_px": [[8]]}, r"float32 \(1, 400, 3\)"),
        ({"head": "retinanet", "anchor_px": [[8 * 2**k] for k in range(5)], "aspects": [1]}, "export no others"),
        ({"head": "retinanet"}, r"the head retinanet has an output cls_logits, float32 \(1, 4842, 3\)"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, changes: dict[str, object], said: str) -> None:
    path = folder(tmp_path / "m", numbers(facts_of("fcos")), **changes)
    with pytest.raises(ModelError, match=said):
        load(str(path))


def test_an_output_of_another_name_is_named(tmp_path: Path) -> None:
    raw = numbers(facts_of("fcos"))
    raw["ctr"] = raw.pop("bbox_ctrness")
    with pytest.raises(ModelError, match=r"an output bbox_ctrness.*here are cls_logits, bbox_regression, ctr"):
        load(str(folder(tmp_path / "m", raw)))
