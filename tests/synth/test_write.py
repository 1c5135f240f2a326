"""What is written reads back: pyramids, label images, fields with their scale."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import openslide
import pytest
import pyvips

from pbsbatch.synth import IdMap, Scene, write_field, write_labels, write_slide

SCENE = Scene(2301, 1405, mpp=0.2, seed=11)


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("slide") / "a.tif"
    write_slide(SCENE, path, workers=2)
    return path


def test_the_pyramid_holds_the_scene(slide):
    first = pyvips.Image.new_from_file(str(slide))
    assert first.get("n-pages") == SCENE.levels == 3
    for level in range(SCENE.levels):
        page = pyvips.Image.new_from_file(str(slide), page=level)
        assert (page.width, page.height) == (2301 >> level, 1405 >> level)
        assert 1000 / page.xres == pytest.approx(0.2 * 2**level, rel=1e-4)
        assert 1000 / page.yres == pytest.approx(0.2 * 2**level, rel=1e-4)
        error = page.numpy().astype(float) - SCENE.render(0, 0, page.width, page.height, level)
        assert np.abs(error).mean() < 5
        assert np.abs(error.mean((0, 1))).max() < 0.6  # no channel is swapped or shifted


def test_openslide_reads_it_as_a_pyramid(slide):
    with openslide.OpenSlide(slide) as opened:
        assert opened.level_dimensions == ((2301, 1405), (1150, 702), (575, 351))
        assert float(opened.properties["openslide.mpp-x"]) == pytest.approx(0.2, rel=1e-4)
        region = np.asarray(opened.read_region((700, 500), 0, (128, 128)))[..., :3].astype(float)
    assert np.abs(region - SCENE.render(700, 500, 128, 128)).mean() < 4


def test_workers_do_not_change_the_file(slide, tmp_path):
    write_slide(SCENE, tmp_path / "b.tif", workers=5)
    assert (tmp_path / "b.tif").read_bytes() == slide.read_bytes()


@pytest.mark.parametrize("size", [(1, 1), (37, 1), (256, 256), (257, 300)])
def test_small_pyramids(size, tmp_path):
    scene = Scene(*size, seed=2)
    write_slide(scene, tmp_path / "s.tif")
    write_labels(scene, tmp_path / "l.tif")
    assert pyvips.Image.new_from_file(str(tmp_path / "s.tif")).numpy().shape == (size[1], size[0], 3)
    labels = pyvips.Image.new_from_file(str(tmp_path / "l.tif")).numpy().reshape(size[1], size[0])
    assert np.array_equal(labels, scene.labels(0, 0, *size))


def test_labels_read_back_dense(tmp_path):
    ids = SCENE.cells(0, 0, SCENE.width, SCENE.height).ids[::-1]
    write_labels(SCENE, tmp_path / "l.tif", ids=IdMap(ids), workers=3)
    labels = pyvips.Image.new_from_file(str(tmp_path / "l.tif")).numpy()
    sparse = SCENE.labels(0, 0, SCENE.width, SCENE.height)
    assert labels.dtype == np.int32
    assert labels.max() == len(ids)
    assert np.array_equal(np.concatenate([[0], ids])[labels], sparse)


def test_an_id_map_forgets_what_it_does_not_know():
    dense = IdMap(np.array([9, 4], np.int32))
    assert dense(np.array([[0, 4, 9], [5, 10, 4]], np.int32)).tolist() == [[0, 2, 1], [0, 0, 2]]
    assert IdMap(np.array([], np.int32))(np.array([[0, 3]], np.int32)).tolist() == [[0, 0]]


@pytest.mark.parametrize("mpp", [0.07, 0.1, 0.25, 1.0])
@pytest.mark.parametrize("name", ["f.jpg", "f.png"])
def test_fields_carry_their_scale(mpp, name, tmp_path):
    scene = Scene(97, 61, mpp=mpp, seed=4)
    write_field(scene, tmp_path / name)
    image = pyvips.Image.new_from_file(str(tmp_path / name))
    assert 1000 / image.xres == pytest.approx(mpp, rel=1e-3)
    error = np.abs(image.numpy().astype(float) - scene.render(0, 0, 97, 61)).mean()
    assert error == 0 if name.endswith("png") else error < 4


def test_memory_does_not_grow_with_height(tmp_path):
    code = """
import resource, sys
from pathlib import Path
from pbsbatch.synth import Scene, write_slide
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
folder = Path(sys.argv[1])
write_slide(Scene(1024, 1024, seed=1, mpp=2.0, density_per_mm2=2000), folder / "a.tif")
before = peak()
write_slide(Scene(1024, 20480, seed=1, mpp=2.0, density_per_mm2=2000), folder / "b.tif")
print(peak() - before)
"""
    run = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert int(run.stdout) < 40_000  # KiB; the level-0 pixels alone are 61,440
