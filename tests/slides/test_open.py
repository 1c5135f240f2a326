"""Bad input: each gives one clear line with the file and the cure; one bad tile costs that tile alone."""

from __future__ import annotations

import os
import pickle
import struct
import sys
from pathlib import Path

import numpy as np
import openslide
import pytest
import pyvips
import tifffile

from pbsbatch.errors import (
    NotASlideError,
    ScaleError,
    SlideError,
    TileError,
    UnreadableSlideError,
    UnsupportedFormatError,
    UsageError,
)
from pbsbatch.geometry import Box
from pbsbatch.slides import open_slide
from pbsbatch.slides.scale import Scale
from pbsbatch.testing.slides import SlideTests
from tests.data import data

RNG = np.random.default_rng(1)
PIXELS = np.kron(RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8), np.ones((8, 8, 1), np.uint8))


def tiled(path: Path, **kwargs: object) -> Path:
    tifffile.imwrite(path, PIXELS, photometric="rgb", tile=(128, 128), **kwargs)
    return path


def refused(path: Path, kind: type[SlideError], *words: str) -> None:
    """Open and read; the error is of this kind, on one line, and names the file, the words and a cure."""
    with pytest.raises(kind) as caught:
        open_slide(path).read(0, 0, 0, 1, 1)
    text = str(caught.value)
    assert len(text.splitlines()) == 1 and len(text) < 500
    assert caught.value.cure and caught.value.path == str(path)
    assert all(word in text for word in words), text
    assert str(pickle.loads(pickle.dumps(caught.value))) == text


def test_importing_slides_imports_no_image_library() -> None:
    code = "import sys, pbsbatch.slides; print(sorted({'pyvips', 'openslide', 'numba'} & set(sys.modules)))"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    import subprocess

    out = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_empty_file(tmp_path: Path) -> None:
    (tmp_path / "a.svs").touch()
    refused(tmp_path / "a.svs", UnreadableSlideError, "empty")


def test_missing_file(tmp_path: Path) -> None:
    refused(tmp_path / "nope.svs", UnreadableSlideError, "no such file")


@pytest.mark.parametrize("name", ["a.svs", "a.tif", "a.ndpi", "a.jpg", "a.dcm", "a.bif"])
def test_text_named_as_a_slide(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("These are notes about slides.\n" * 20)
    refused(tmp_path / name, UnreadableSlideError, Path(name).suffix)


@pytest.mark.parametrize("name", ["a.mrxs", "a.vms", "a.svslide"])
def test_text_named_as_a_scanners_file(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("These are notes about slides.\n" * 20)
    refused(tmp_path / name, UnreadableSlideError)


def test_text(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("These are notes.\n")
    refused(tmp_path / "notes.txt", NotASlideError, "not a slide")


def test_folder(tmp_path: Path) -> None:
    refused(tmp_path, NotASlideError, "folder")


def test_forbidden_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tiled(tmp_path / "a.tif")
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may read everything
    refused(path, UnreadableSlideError, "may not be read")


@pytest.mark.parametrize(
    ("name", "head", "word"),
    [
        ("a.czi", b"ZISRAWFILE", "CZI"),
        ("a.tif", b"ZISRAWFILE", "CZI"),
        ("a.vsi", b"II*\0", "VSI"),
        ("a.lif", b"\x70\0\0\0", "LIF"),
        ("a.nd2", b"\xda\xce\xbe\x0a", "ND2"),
        ("a.isyntax", b"<?xml", "iSyntax"),
        ("a.jp2", b"\0\0\0\x0cjP  \r\n", "JPEG 2000"),
        ("a.bmp", b"BM", "BMP"),
    ],
)
def test_known_formats_are_refused_by_name(tmp_path: Path, name: str, head: bytes, word: str) -> None:
    (tmp_path / name).write_bytes(head + bytes(500))
    refused(tmp_path / name, UnsupportedFormatError, word, "onvert" if word not in ("BMP", "iSyntax") else "")


@pytest.mark.parametrize("part", [0.02, 0.5, 0.95])
def test_truncated_tiff(tmp_path: Path, part: float) -> None:
    for order in (tiled(tmp_path / "front.tif"), tmp_path / "back.tif"):
        if order.name == "back.tif":  # directory behind the pixels
            pyvips.Image.new_from_array(PIXELS).tiffsave(str(order), tile=True)
        content = order.read_bytes()
        order.write_bytes(content[: int(len(content) * part)])
        refused(order, UnreadableSlideError, "truncated" if part > 0.02 else "")


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
@pytest.mark.parametrize("part", [0.001, 0.5])
def test_truncated_image(tmp_path: Path, suffix: str, part: float) -> None:
    path = tmp_path / f"a{suffix}"
    pyvips.Image.new_from_array(PIXELS).write_to_file(str(path))
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * part) + 20])
    refused(path, UnreadableSlideError)


@pytest.mark.parametrize("compression", ["zlib", "lzw", "jpeg"])
def test_one_corrupt_tile_costs_that_tile(tmp_path: Path, compression: str, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.tif"
    vips_name = {"zlib": "deflate"}.get(compression, compression)
    image = pyvips.Image.new_from_array(PIXELS).copy(interpretation="srgb")
    image.tiffsave(str(path), tile=True, compression=vips_name, pyramid=True)
    good = open_slide(path).read(0, 0, 0, 512, 512)
    with tifffile.TiffFile(path) as tif:
        offset, size = tif.pages[0].dataoffsets[5], tif.pages[0].databytecounts[5]
    content = bytearray(path.read_bytes())
    content[offset : offset + size] = RNG.bytes(size)
    path.write_bytes(content)
    slide = open_slide(path)
    for _ in range(2):
        with pytest.raises(TileError) as caught:
            slide.read(0, 140, 130, 20, 20)
        assert caught.value.path == str(path) and "fresh handle" in str(caught.value)
        assert len(str(caught.value).splitlines()) == 1
        np.testing.assert_array_equal(slide.read(0, 0, 0, 128, 512), good[:, :128])
    assert capfd.readouterr().err == ""


def test_a_handle_that_breaks_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenSlide's handles stay broken after one fault: the read is tried once on a fresh one."""
    slide = open_slide(data("slides/boxes_0.dcm"))
    expected = slide.read(0, 0, 0, 16, 16)
    broken: set[int] = set()
    read = openslide.OpenSlide.read_region

    def sometimes(self: openslide.OpenSlide, *args: object) -> object:
        if not broken or id(self) in broken:
            broken.add(id(self))
            raise openslide.OpenSlideError("Bogus marker length")
        return read(self, *args)

    monkeypatch.setattr(openslide.OpenSlide, "read_region", sometimes)
    np.testing.assert_array_equal(slide.read(0, 0, 0, 16, 16), expected)
    np.testing.assert_array_equal(slide.read(0, 0, 0, 16, 16), expected)
    assert len(broken) == 1


@pytest.mark.parametrize("name", ["unreadable.svs", "unopenable.tiff"])
def test_broken_public_files(name: str) -> None:
    with pytest.raises((TileError, SlideError)) as caught:
        open_slide(data("slides") / name).read(0, 0, 0, 16, 16)
    assert name in str(caught.value) and len(str(caught.value).splitlines()) == 1


def test_a_corrupt_zarr_chunk_costs_that_tile(tmp_path: Path) -> None:
    zarr = pytest.importorskip("zarr")
    group = zarr.open_group(tmp_path / "a.zarr", mode="w")
    group.create_array("0", data=np.ascontiguousarray(PIXELS), chunks=(128, 128, 3))
    axes = [{"name": "y", "type": "space"}, {"name": "x", "type": "space"}, {"name": "c", "type": "channel"}]
    datasets = [{"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [1, 1, 1]}]}]
    group.attrs["ome"] = {"version": "0.5", "multiscales": [{"axes": axes, "datasets": datasets}]}
    (tmp_path / "a.zarr/0/c/1/1/0").write_bytes(b"damage")
    slide = open_slide(tmp_path / "a.zarr")
    with pytest.raises(TileError):
        slide.read(0, 130, 130, 10, 10)
    np.testing.assert_array_equal(slide.read(0, 0, 0, 128, 512), PIXELS[:, :128])
    assert slide.mpp is None and slide.notes
    (tmp_path / "a.zarr/zarr.json").write_text("{")
    refused(tmp_path / "a.zarr", UnreadableSlideError)


def test_one_pixel(tmp_path: Path) -> None:
    for name in ("a.png", "a.tif", "a.jpg"):
        pyvips.Image.new_from_array(PIXELS[:1, :1]).copy(interpretation="srgb").write_to_file(str(tmp_path / name))
        slide = open_slide(tmp_path / name)
        assert (slide.levels[0].width, slide.levels[0].height) == (1, 1)
        assert slide.thumbnail(512)[0].shape == (1, 1, 3)
        assert slide.read_scaled(2.5, 0, 0, 3, 3).shape == (3, 3, 3)


def bomb(path: Path, side: int, *, tiled: bool) -> None:
    """Write a TIFF of one directory that claims side x side px."""
    tags = [(256, 4, 1, side), (257, 4, 1, side), (258, 3, 1, 8), (259, 3, 1, 8), (262, 3, 1, 1), (277, 3, 1, 1)]
    tags += (
        [(322, 3, 1, 256), (323, 3, 1, 256), (324, 4, 1, 8), (325, 4, 1, 8)]
        if tiled
        else [(273, 4, 1, 8), (279, 4, 1, 8)]
    )
    body = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    path.write_bytes(b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(tags)) + body + bytes(4))


@pytest.mark.parametrize("is_tiled", [True, False])
@pytest.mark.parametrize("side", [100_000, 1_000_000, 2**32 - 1])
def test_decompression_bomb_tiff(tmp_path: Path, side: int, is_tiled: bool) -> None:
    bomb(tmp_path / "a.tif", side, tiled=is_tiled)
    refused(tmp_path / "a.tif", UnreadableSlideError, "claims", f"{side:,}")


def test_decompression_bomb_png(tmp_path: Path) -> None:
    import zlib

    header = b"IHDR" + struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    idat = b"IDAT" + zlib.compress(bytes(100))
    body = chunk + struct.pack(">I", len(idat) - 4) + idat + struct.pack(">I", zlib.crc32(idat))
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    refused(tmp_path / "a.png", UnreadableSlideError, "claims")


@pytest.mark.parametrize("seed", range(40))
def test_damaged_bytes_never_raise_anything_else(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path, ome=bool(seed % 2)) as tif:
        tif.write(PIXELS[:256, :256], photometric="rgb", tile=(64, 64), subifds=1, compression="zlib")
        tif.write(PIXELS[:256:2, :256:2], photometric="rgb", tile=(64, 64), subfiletype=1, compression="zlib")
    content = bytearray(path.read_bytes())
    for at in rng.integers(0, min(len(content), 2500), rng.integers(1, 30)):
        content[at] = rng.integers(0, 256)
    path.write_bytes(content)
    try:
        slide = open_slide(path)
        slide.read(0, 0, 0, min(256, slide.levels[0].width), min(256, slide.levels[0].height))
    except (SlideError, TileError) as error:
        assert len(str(error).splitlines()) == 1


def test_float_and_many_channels_are_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "f.tif", np.zeros((64, 64), np.float32), tile=(64, 64))
    refused(tmp_path / "f.tif", UnsupportedFormatError, "float", "8 bits")
    tifffile.imwrite(tmp_path / "c.ome.tif", np.zeros((5, 64, 64), np.uint8), metadata={"axes": "CYX"}, tile=(64, 64))
    refused(tmp_path / "c.ome.tif", UnsupportedFormatError, "5 channels")


def test_unknown_compression_names_itself(tmp_path: Path) -> None:
    path = tiled(tmp_path / "a.tif")
    content = path.read_bytes()
    at = content.index(struct.pack("<HHIH", 259, 3, 1, 1))
    path.write_bytes(content[: at + 8] + struct.pack("<H", 34712) + content[at + 10 :])
    refused(path, UnsupportedFormatError, "compression")


def test_pixels_that_are_not_square(tmp_path: Path) -> None:
    def write(x: float, y: float) -> Path:
        meta = {"axes": "YXS", "PhysicalSizeX": x, "PhysicalSizeY": y}
        tifffile.imwrite(tmp_path / "a.ome.tif", PIXELS, ome=True, metadata=meta, photometric="rgb", tile=(128, 128))
        return tmp_path / "a.ome.tif"

    with pytest.raises(ScaleError, match=r"not square.*--mpp"):
        open_slide(write(0.2, 0.25))
    assert open_slide(write(0.2, 0.25), mpp=0.2).mpp == 0.2
    slide = open_slide(write(0.24, 0.25))
    assert slide.mpp == pytest.approx(0.245) and any("0.24 um" in note for note in slide.notes)


def test_an_absurd_given_scale(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no scale"):
        open_slide(tiled(tmp_path / "a.tif"), mpp=-1)


def test_slides_survive_pickling_and_say_what_they_are(tmp_path: Path) -> None:
    slide = open_slide(tiled(tmp_path / "a.tif"), id="x-1", mpp=0.3)
    again = pickle.loads(pickle.dumps(slide))
    assert (again.id, again.mpp, again.mpp_source) == ("x-1", 0.3, "given")
    assert "x-1" in repr(again) and "512 x 512" in repr(again)
    assert Scale() == Scale(None, None, ())


def test_reading_a_level_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="levels 0 to 0"):
        open_slide(tiled(tmp_path / "a.tif")).read(1, 0, 0, 1, 1)


class TestOpenSlideReadsAperioToo(SlideTests):
    """The reader for tiles that libvips cannot decode, on a file that both can."""

    @pytest.fixture
    def slide(self, monkeypatch: pytest.MonkeyPatch) -> object:
        path = data("slides/CMU-1-Small-Region.svs")
        monkeypatch.setattr("pbsbatch.slides.tiff.Ifd.sparse", True)
        slide = open_slide(path)
        yield slide
        slide.close()


def test_blocks_make_reads_independent_of_the_region() -> None:
    """The block path of OpenSlide gives crops of one image, whatever is asked for."""
    from pbsbatch.slides.vendor import vendor_source

    handle = vendor_source(data("slides/yb10kx5k.zstd.tiff")).open()
    whole = handle.read(4, Box(0, 0, 625, 312))
    for box in (Box(500, 100, 60, 60), Box(1, 1, 3, 3), Box(511, 0, 2, 312)):
        np.testing.assert_array_equal(handle.read(4, box), whole[box.y : box.y1, box.x : box.x1])
    handle.close()


def test_a_damaged_jpeg_is_refused_and_a_sloppy_one_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    pyvips.Image.new_from_array(PIXELS).copy(interpretation="srgb").jpegsave(str(path), restart_interval=8)
    good = path.read_bytes()
    expected = open_slide(path).read(0, 0, 0, 512, 512)
    at = good.index(b"\xff\xd3", len(good) // 2)
    scan = good.index(b"\xff\xda")
    path.write_bytes(good[: scan + 12] + b"\0" + good[scan + 13 :])  # "Invalid SOS parameters": cameras write them
    np.testing.assert_array_equal(open_slide(path).read(0, 0, 0, 512, 512), expected)
    for damaged in (good[: at - 30] + good[at - 10 :], good[:at] + b"\1\2" + good[at:]):
        path.write_bytes(damaged)
        refused(path, UnreadableSlideError, "damaged")
