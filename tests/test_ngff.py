import json
from pathlib import Path

import numpy as np
import pytest
import zarr
from zarr.codecs import BytesCodec, ZstdCodec

from pbsbatch import ngff
from pbsbatch.errors import UnreadableSlideError, UnsupportedFormatError

SPECS = {
    "2d": ngff.ArraySpec((1000, 1300), (64, 64), (512, 512), "int32", dimensions=("y", "x")),
    "one shard": ngff.ArraySpec((100, 70), (64, 64), (128, 128), "int32"),
    "a pixel": ngff.ArraySpec((1, 1), (512, 512), (512, 512), "int32"),
    "bytes": ngff.ArraySpec((3, 90, 130), (3, 64, 64), (3, 128, 192), "uint8"),
    "floats": ngff.ArraySpec((1001,), (64,), (256,), "float32"),
    "doubles": ngff.ArraySpec((77, 4), (16, 4), (64, 4), "float64"),
    "filled": ngff.ArraySpec((100,), (8,), (32,), "uint8", fill=255),
    "nothing": ngff.ArraySpec((0,), (8,), (32,), "int32"),
}


def sparse(spec: ngff.ArraySpec, seed: int = 0) -> np.ndarray:
    """Return values of which whole chunks and shards are nothing but fill."""
    rng = np.random.default_rng(seed)
    values = np.full(spec.shape, spec.fill, spec.dtype)
    for at in np.ndindex(*spec.chunks):
        if rng.random() < 0.4 and sum(at) % 5:
            box = tuple(slice(a * c, (a + 1) * c) for a, c in zip(at, spec.chunk, strict=True))
            values[box] = rng.integers(0, 200, values[box].shape)
    return values


def by_zarr(path: Path, spec: ngff.ArraySpec) -> zarr.Array:
    """Create the array that zarr itself makes of a spec."""
    return zarr.create_array(
        path, shape=spec.shape, chunks=spec.chunk, shards=spec.shard, dtype=spec.dtype, fill_value=spec.fill,
        serializer=BytesCodec(), compressors=[ZstdCodec(level=spec.level, checksum=False)],
        dimension_names=spec.dimensions,
    )  # fmt: skip


@pytest.mark.parametrize("name", SPECS)
def test_written_arrays_equal_zarrs_own(tmp_path: Path, name: str) -> None:
    spec = SPECS[name]
    values = sparse(spec)
    ngff.write_array(tmp_path / "ours", spec, values)
    theirs = by_zarr(tmp_path / "theirs", spec)
    theirs[...] = values
    ours = zarr.open_array(tmp_path / "ours", mode="r")
    np.testing.assert_array_equal(ours[...], values)
    assert ours.metadata == theirs.metadata
    files = [{p.relative_to(r): p.stat().st_size for p in (r / "c").rglob("*") if p.is_file()} if (r / "c").exists()
             else {} for r in (tmp_path / "ours", tmp_path / "theirs")]  # fmt: skip
    assert files[0] == files[1]


def test_chunks_may_come_in_any_order(tmp_path: Path) -> None:
    spec = SPECS["2d"]
    values = sparse(spec, 1)
    writer = ngff.ArrayWriter(tmp_path / "a", spec)
    places = list(np.ndindex(*spec.chunks))
    np.random.default_rng(0).shuffle(places)
    for y, x in places:
        writer.put((y, x), writer.encode(values[y * 64 : y * 64 + 64, x * 64 : x * 64 + 64]))
    writer.finish()
    np.testing.assert_array_equal(zarr.open_array(tmp_path / "a", mode="r")[...], values)


def test_an_array_with_a_hole_is_never_finished(tmp_path: Path) -> None:
    writer = ngff.ArrayWriter(tmp_path / "a", SPECS["one shard"])
    writer.put((0, 0), writer.encode(np.ones((64, 64), np.int32)))
    with pytest.raises(ValueError, match="3 of 4 chunks"):
        writer.finish()
    writer.abandon()


@pytest.mark.parametrize("name", ["floats", "doubles", "filled", "nothing"])
def test_rows_may_come_in_blocks_of_any_length(tmp_path: Path, name: str) -> None:
    spec = SPECS[name]
    values = sparse(spec, 2)
    cuts = np.sort(np.random.default_rng(3).integers(0, max(1, len(values)), 20))
    writer = ngff.RowWriter(tmp_path / "rows", spec)
    for block in np.split(values, cuts):
        writer.append(block)
    writer.finish()
    ngff.write_array(tmp_path / "whole", spec, values)
    files = [sorted((p.relative_to(r), p.read_bytes()) for p in r.rglob("*") if p.is_file())
             for r in (tmp_path / "rows", tmp_path / "whole")]  # fmt: skip
    assert files[0] == files[1]


@pytest.mark.parametrize(("size", "levels"), [((1, 1), 1), ((1024, 3), 1), ((1025, 1025), 2), ((16384, 9), 5)])
def test_levels(size: tuple[int, int], levels: int) -> None:
    assert ngff.levels_for(*size) == levels


def write_image(
    path: Path, pixels: np.ndarray, axes: str, version: str, unit: str | None = "micrometer", scale: float = 0.25
) -> None:
    """Write an image of two levels by zarr, with the metadata of an NGFF version."""
    group = zarr.create_group(path, zarr_format=2 if version == "0.4" else 3)
    kind = {"t": "time", "c": "channel"}
    named = [{"name": a, "type": kind.get(a, "space")} | ({"unit": unit} if unit and a in "yx" else {}) for a in axes]
    datasets = []
    for k in range(2):
        step = tuple(slice(None, None, 2**k if a in "yx" else 1) for a in axes)
        level = pixels[step]
        chunks = tuple(min(64, n) for n in level.shape)
        array = group.create_array(str(k), shape=level.shape, dtype=level.dtype, chunks=chunks)
        array[...] = level
        factors = [scale * 2**k if a in "yx" else 1.0 for a in axes]
        datasets.append({"path": str(k), "coordinateTransformations": [{"type": "scale", "scale": factors}]})
    multiscales = [{"axes": named, "datasets": datasets, "version": version, "name": "x"}]
    group.attrs.update({"multiscales": multiscales} if version == "0.4" else
                       {"ome": {"version": version, "multiscales": multiscales}})  # fmt: skip


RGB = np.random.default_rng(0).integers(0, 255, (101, 150, 3), np.uint8)
SHAPED = {
    "yxc": RGB,
    "cyx": RGB.transpose(2, 0, 1),
    "tczyx": np.stack([RGB, 255 - RGB]).transpose(0, 3, 1, 2)[:, :, None].repeat(3, axis=2),
    "tzcyx": RGB.transpose(2, 0, 1)[None, None],
}


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("axes", SHAPED)
def test_images_are_read_whatever_the_order_of_their_axes(tmp_path: Path, axes: str, version: str) -> None:
    write_image(tmp_path / "i.zarr", SHAPED[axes], axes, version)
    image = ngff.open_image(tmp_path / "i.zarr")
    assert [(v.width, v.height, v.downsample) for v in image.levels] == [(150, 101, 1.0), (75, 51, 2.0)]
    assert image.mpp == 0.25
    np.testing.assert_array_equal(image.levels[0].read(10, 20, 30, 40), RGB[20:60, 10:40])
    np.testing.assert_array_equal(image.levels[1].read(0, 0, 75, 51), RGB[::2, ::2])
    with pytest.raises(ValueError, match="leaves the level"):
        image.levels[0].read(140, 0, 11, 1)


@pytest.mark.parametrize("axes", ["yx", "cyx"])
def test_gray_images_become_rgb(tmp_path: Path, axes: str) -> None:
    gray = RGB[:, :, 0] if axes == "yx" else RGB[None, :, :, 0]
    write_image(tmp_path / "i.zarr", gray, axes, "0.5")
    pixels = ngff.open_image(tmp_path / "i.zarr").levels[0].read(3, 4, 5, 6)
    np.testing.assert_array_equal(pixels, np.repeat(RGB[4:10, 3:8, :1], 3, axis=2))


@pytest.mark.parametrize(
    ("unit", "mpp"),
    [("micrometer", 0.25), ("nanometer", 0.00025), ("millimeter", 250.0), (None, None), ("cubit", None)],
)
def test_scale_needs_a_unit(tmp_path: Path, unit: str | None, mpp: float | None) -> None:
    write_image(tmp_path / "i.zarr", RGB, "yxc", "0.5", unit)
    image = ngff.open_image(tmp_path / "i.zarr")
    assert image.mpp == (None if mpp is None else pytest.approx(mpp))
    assert bool(image.notes) == (mpp is None)


def test_a_series_of_images_gives_its_first(tmp_path: Path) -> None:
    group = zarr.create_group(tmp_path / "s.zarr", zarr_format=2)
    group.attrs["bioformats2raw.layout"] = 3
    write_image(tmp_path / "s.zarr" / "0", SHAPED["cyx"], "cyx", "0.4")
    image = ngff.open_image(tmp_path / "s.zarr")
    assert image.levels[0].width == 150
    assert "series" in image.notes[0]


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    with pytest.raises(UnreadableSlideError, match="not a readable OME-NGFF image"):
        ngff.open_image(tmp_path / "missing.zarr")
    (tmp_path / "empty.zarr").mkdir()
    with pytest.raises(UnreadableSlideError):
        ngff.open_image(tmp_path / "empty.zarr")
    zarr.create_group(tmp_path / "bare.zarr")
    with pytest.raises(UnreadableSlideError, match="multiscales"):
        ngff.open_image(tmp_path / "bare.zarr")
    write_image(tmp_path / "deep.zarr", RGB.astype(np.uint16), "yxc", "0.5")
    with pytest.raises(UnsupportedFormatError, match=r"uint16.*8 bits"):
        ngff.open_image(tmp_path / "deep.zarr")
    write_image(tmp_path / "odd.zarr", RGB, "yxs", "0.5")
    with pytest.raises(UnsupportedFormatError, match="axes"):
        ngff.open_image(tmp_path / "odd.zarr")
    (tmp_path / "torn.zarr").mkdir()
    (tmp_path / "torn.zarr" / "zarr.json").write_text('{"zarr_format": 3, "node')
    with pytest.raises(UnreadableSlideError):
        ngff.open_image(tmp_path / "torn.zarr")
    plate = zarr.create_group(tmp_path / "plate.zarr")
    plate.attrs["ome"] = {"version": "0.5", "plate": {}}
    with pytest.raises(UnsupportedFormatError, match="plate"):
        ngff.open_image(tmp_path / "plate.zarr")


@pytest.mark.parametrize("harm", ["datasets", "axes", "scale", "path", "list"])
def test_odd_metadata_cost_one_slide_not_the_run(tmp_path: Path, harm: str) -> None:
    write_image(tmp_path / "i.zarr", RGB, "yxc", "0.5")
    file = tmp_path / "i.zarr" / "zarr.json"
    meta = json.loads(file.read_text())
    multiscale = meta["attributes"]["ome"]["multiscales"][0]
    multiscale.update({
        "datasets": {"datasets": []}, "axes": {"axes": [{"nom": "y"}]},
        "scale": {"coordinateTransformations": [{"type": "scale", "scale": [1, 1]}]},
        "path": {"datasets": [{"path": "9"}]}, "list": {"datasets": 3},
    }[harm])  # fmt: skip
    file.write_text(json.dumps(meta))
    with pytest.raises(UnreadableSlideError):
        ngff.open_image(tmp_path / "i.zarr")


class Bomb:
    """What a hostile file would have unpickled."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.proof,)


AXES = [{"name": name, "type": kind} for name, kind in (("c", "channel"), ("y", "space"), ("x", "space"))]


@pytest.mark.parametrize(
    "codecs",
    [
        {"compressor": None, "filters": [{"id": "pickle"}]},
        {"compressor": {"id": "pickle"}, "filters": None},
        {"compressor": None, "filters": [{"id": "delta", "dtype": "|u1"}, {"id": "pickle"}]},
    ],
)
def test_a_slide_that_asks_to_be_unpickled_is_refused(tmp_path: Path, codecs: dict[str, object]) -> None:
    import pickle

    slide, proof = tmp_path / "evil.zarr", tmp_path / "ran"
    (slide / "0").mkdir(parents=True)
    (slide / ".zgroup").write_text('{"zarr_format": 2}')
    multiscale = {"version": "0.4", "axes": AXES, "datasets": [{"path": "0"}]}
    (slide / ".zattrs").write_text(json.dumps({"multiscales": [multiscale]}))
    array = {"zarr_format": 2, "shape": [3, 8, 8], "chunks": [3, 8, 8], "dtype": "|u1", "fill_value": 0, "order": "C"}
    (slide / "0" / ".zarray").write_text(json.dumps(array | codecs))
    (slide / "0" / "0.0.0").write_bytes(pickle.dumps(Bomb(proof)))
    with pytest.raises(UnreadableSlideError):
        ngff.open_image(slide).levels[0].read(0, 0, 8, 8)
    assert not proof.exists()


def test_a_slide_cannot_point_outside_its_folder(tmp_path: Path) -> None:
    other = zarr.create_group(tmp_path / "other.zarr")
    other.create_array("secret", shape=(3, 8, 8), dtype="uint8", chunks=(3, 8, 8))
    multiscale = {"axes": AXES, "datasets": [{"path": "../other.zarr/secret"}]}
    zarr.create_group(tmp_path / "slide.zarr", attributes={"ome": {"version": "0.5", "multiscales": [multiscale]}})
    with pytest.raises(UnreadableSlideError, match="leaves the image"):
        ngff.open_image(tmp_path / "slide.zarr")
