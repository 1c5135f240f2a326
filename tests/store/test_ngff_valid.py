"""A published store is what NGFF 0.5 and its readers say an image with labels is."""

import json
from pathlib import Path

import numpy as np
import ome_zarr.io
import ome_zarr.reader
import pytest
import zarr
from ome_zarr_models.v05 import Image, ImageLabel, Labels

from pbsbatch import ngff
from pbsbatch.store import CELL_COLUMNS, Store, open_store
from pbsbatch.store.render import shard_shape
from pbsbatch.testing.stores import KEY, draw_smear, preview_of, truth_labels

SMEAR = draw_smear(31, 2600, 1900, 800, tile=500, strip=1000)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = Store.begin(tmp_path_factory.mktemp("valid"), SMEAR.header, KEY)
    for k, strip in enumerate(SMEAR.strips):
        store.append(k, *strip)
    return store.commit(preview_of(SMEAR.header)).path


def test_ome_zarr_models_accept_it(path: Path) -> None:
    root = zarr.open_group(path, mode="r")
    image = Image.from_zarr(root)
    assert len(image.attributes.ome.multiscales[0].datasets) == 3
    labels = Labels.from_zarr(root["labels"])
    assert labels.attributes.ome.labels == ["cells"]
    label = ImageLabel.from_zarr(root["labels/cells"])
    assert len(label.attributes.ome.multiscales[0].datasets) == 3


def test_ome_zarr_reads_it(path: Path) -> None:
    location = ome_zarr.io.parse_url(path)
    assert location is not None
    nodes = list(ome_zarr.reader.Reader(location)())
    image = next(n for n in nodes if n.zarr.basename() == path.name)
    label = next(n for n in nodes if n.zarr.basename() == "cells")
    assert [tuple(d.shape) for d in label.data] == [(1900, 2600), (950, 1300), (475, 650)]
    assert len(image.data) == 3
    np.testing.assert_array_equal(np.asarray(image.data[0]), preview_of(SMEAR.header).pixels.transpose(2, 0, 1))
    np.testing.assert_array_equal(np.asarray(label.data[0]), truth_labels(SMEAR.truth, 2600, 1900))


def multiscale_rules(ome: dict, rank: int) -> None:
    """Check what the NGFF 0.5 image schema requires."""
    assert ome["version"] == "0.5"
    (multiscale,) = ome["multiscales"]
    axes = multiscale["axes"]
    assert len(axes) == rank == len({a["name"] for a in axes})
    assert [a["type"] for a in axes[-2:]] == ["space", "space"]
    assert [a["type"] for a in axes[:-2]] in ([], ["channel"])
    assert multiscale["datasets"]
    last = 0.0
    for dataset in multiscale["datasets"]:
        assert isinstance(dataset["path"], str)
        (transform,) = dataset["coordinateTransformations"]
        assert transform["type"] == "scale"
        assert len(transform["scale"]) == rank
        assert transform["scale"][-1] > last
        last = transform["scale"][-1]


def test_metadata_keep_the_rules_of_the_schema(path: Path) -> None:
    root = json.loads((path / "zarr.json").read_text())
    assert (root["zarr_format"], root["node_type"]) == (3, "group")
    multiscale_rules(root["attributes"]["ome"], 3)
    label = json.loads((path / "labels" / "cells" / "zarr.json").read_text())["attributes"]["ome"]
    multiscale_rules(label, 2)
    assert label["image-label"]["source"] == {"image": "../../"}
    scales = [[d["coordinateTransformations"][0]["scale"][-1] for d in o["multiscales"][0]["datasets"]]
              for o in (root["attributes"]["ome"], label)]  # fmt: skip
    assert scales[1] == [0.25, 0.5, 1.0]
    assert scales[0] == pytest.approx([0.25 * 2600 / 128 * 2**k for k in range(3)])
    assert {a.get("unit") for a in label["multiscales"][0]["axes"]} == {"micrometer"}
    for meta in path.rglob("zarr.json"):
        value = json.loads(meta.read_text())
        if value["node_type"] == "array" and value.get("dimension_names"):
            assert value["dimension_names"][-2:] == ["y", "x"]


def test_without_a_scale_there_is_no_unit(tmp_path: Path) -> None:
    ome = ngff.label_attributes("cells", [1.0, 2.0], None)
    multiscale_rules(ome, 2)
    assert all("unit" not in axis for axis in ome["multiscales"][0]["axes"])


def test_our_own_reader_opens_it_as_an_image(path: Path) -> None:
    image = ngff.open_image(path)
    assert image.mpp == pytest.approx(0.25 * 2600 / 128)
    pixels = preview_of(SMEAR.header).pixels
    np.testing.assert_array_equal(image.levels[0].read(0, 0, pixels.shape[1], pixels.shape[0]), pixels)


def test_the_table_is_what_the_contract_says(path: Path) -> None:
    group = zarr.open_group(path / "cells", mode="r")
    assert group.attrs["classes"] == list(SMEAR.header.classes)
    assert sorted(group.array_keys()) == sorted(CELL_COLUMNS)
    assert {n: str(group[n].dtype) for n in CELL_COLUMNS} == dict(CELL_COLUMNS)
    assert group.attrs["types"] == list(SMEAR.header.types)
    assert group.attrs["untyped"] == 255
    cells = open_store(path).cells
    assert ((cells["type"] == 255) == (cells["class"] != 1)).all()


FILES_FIXED, FILES_PER_AREA = 60, 1.4


def files_of(width: int, height: int) -> int:
    """Count the files of a store of this size all of whose chunks hold cells."""
    n = ngff.levels_for(width, height)
    shards = 0
    for k in range(n):
        w, h = -(-width // 2**k), -(-height // 2**k)
        sh, sw = shard_shape(w, h)
        shards += -(-h // sh) * -(-w // sw)
    groups = 1 + 1 + 1 + 1 + 1  # root, labels, labels/cells, cells, tiles
    return groups + 2 * n + n + shards + 2 * len(CELL_COLUMNS) + 2


def test_the_count_of_files_is_right_for_a_real_store(path: Path) -> None:
    written = [p for p in path.rglob("*") if p.is_file()]
    assert len(written) == files_of(2600, 1900)


@pytest.mark.parametrize("width", [1, 640, 5000, 16384, 16385, 40_000, 100_000, 131_072, 200_000, 262_144])
@pytest.mark.parametrize("height", [1, 480, 5000, 16384, 16385, 40_000, 90_000, 131_072, 200_000, 262_144])
def test_files_stay_few(width: int, height: int) -> None:
    assert files_of(width, height) <= FILES_FIXED + FILES_PER_AREA * width * height / 16384**2
    assert all(side <= 2 * 16384 + 512 or min(width, height) < 16384 for side in shard_shape(width, height))
