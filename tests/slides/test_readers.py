"""Every reader keeps the laws of a slide, on public files and on files written here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import pyvips
import tifffile
from numpy.typing import NDArray

from pbsbatch.slides import open_slide
from pbsbatch.slides.base import Slide
from pbsbatch.testing.slides import FakeSlide, SlideTests
from tests.data import data


def picture(w: int = 700, h: int = 520) -> NDArray[np.uint8]:
    """Return a smooth picture with detail and no symmetry, so that a wrong turn or shift shows."""
    y, x = np.mgrid[0:h, 0:w]
    red = x * 255 / w
    green = y * 255 / h
    blue = 127 + 60 * np.sin(x / 9) + 60 * np.cos(y / 13)
    return np.stack([red, green, blue], -1).astype(np.uint8)


def vips(pixels: NDArray[np.generic], interpretation: str = "srgb") -> pyvips.Image:
    return pyvips.Image.new_from_array(np.ascontiguousarray(pixels)).copy(interpretation=interpretation)


RGB = picture()
GRAY = RGB[..., 0]
GRAY3 = np.repeat(GRAY[..., None], 3, -1)


def write_page_pyramid(path: Path) -> NDArray[np.uint8]:
    vips(RGB).tiffsave(str(path), tile=True, tile_width=128, tile_height=128, pyramid=True, compression="deflate")
    return RGB


def write_subifd_pyramid(path: Path) -> NDArray[np.uint8]:
    vips(RGB).tiffsave(str(path), tile=True, tile_width=128, tile_height=128, pyramid=True, subifd=True, bigtiff=True)
    return RGB


def write_jpeg_pyramid(path: Path) -> NDArray[np.uint8]:
    vips(RGB).tiffsave(str(path), tile=True, tile_width=128, tile_height=128, pyramid=True, compression="jpeg", Q=98)
    return RGB


def write_tiff(path: Path, pixels: NDArray[np.generic], **kwargs: object) -> None:
    tifffile.imwrite(path, pixels, **kwargs)


def write_strips(path: Path) -> NDArray[np.uint8]:
    write_tiff(path, RGB, photometric="rgb", rowsperstrip=7)
    return RGB


def write_strip_pyramid(path: Path) -> NDArray[np.uint8]:
    with tifffile.TiffWriter(path) as tif:
        tif.write(RGB, photometric="rgb", subifds=1)
        tif.write(RGB[::2, ::2], photometric="rgb", subfiletype=1)
    return RGB


def write_ome(path: Path) -> NDArray[np.uint8]:
    options = {"photometric": "rgb", "tile": (128, 128), "compression": "zlib"}
    meta = {
        "axes": "YXS",
        "PhysicalSizeX": 250,
        "PhysicalSizeXUnit": "nm",
        "PhysicalSizeY": 250,
        "PhysicalSizeYUnit": "nm",
    }
    with tifffile.TiffWriter(path, ome=True) as tif:
        tif.write(RGB, subifds=2, metadata=meta, **options)
        tif.write(RGB[::2, ::2], subfiletype=1, **options)
        tif.write(RGB[::4, ::4], subfiletype=1, **options)
    return RGB


def write_ome_planes(path: Path) -> NDArray[np.uint8]:
    planes = np.moveaxis(RGB, -1, 0)
    with tifffile.TiffWriter(path, ome=True) as tif:
        tif.write(planes, subifds=1, metadata={"axes": "CYX"}, photometric="minisblack", tile=(128, 128))
        tif.write(planes[:, ::2, ::2], subfiletype=1, photometric="minisblack", tile=(128, 128))
    return RGB


def write_ome_stack(path: Path) -> NDArray[np.uint8]:
    stack = np.stack([np.full_like(RGB, 10), np.full_like(RGB, 20), RGB, np.full_like(RGB, 30), np.full_like(RGB, 40)])
    write_tiff(path, stack, ome=True, metadata={"axes": "ZYXS"}, photometric="rgb", tile=(128, 128))
    return RGB


def write_gray16(path: Path) -> NDArray[np.uint8]:
    write_tiff(path, GRAY.astype(np.uint16) * 256 + 77, tile=(128, 128), photometric="minisblack")
    return GRAY3


def write_rgba_tiles(path: Path) -> NDArray[np.uint8]:
    alpha = np.full((*GRAY.shape, 1), 255, np.uint8)
    alpha[:100, :50] = 0
    write_tiff(path, np.concatenate([RGB, alpha], -1), photometric="rgb", extrasamples=["unassalpha"], tile=(128, 128))
    return np.where(alpha == 0, np.uint8(255), RGB)


def write_oriented_tiles(path: Path) -> NDArray[np.uint8]:
    turned = np.rot90(RGB)  # 90 degrees to the left; orientation 6 turns it back
    write_tiff(path, turned, photometric="rgb", tile=(128, 128), extratags=[(274, "H", 1, 6, True)])
    return RGB


def write_jpeg(path: Path) -> NDArray[np.uint8]:
    vips(RGB).jpegsave(str(path), Q=99, subsample_mode="off")
    return RGB


def write_exif_jpeg(path: Path) -> NDArray[np.uint8]:
    image = vips(np.rot90(RGB, -1)).copy()
    image.set_type(pyvips.GValue.gint_type, "orientation", 8)
    image.jpegsave(str(path), Q=99, subsample_mode="off")
    return RGB


def write_gray_jpeg(path: Path) -> NDArray[np.uint8]:
    vips(GRAY, "b-w").jpegsave(str(path), Q=99)
    return GRAY3


def write_png(path: Path) -> NDArray[np.uint8]:
    vips(RGB).pngsave(str(path))
    return RGB


def write_interlaced_png(path: Path) -> NDArray[np.uint8]:
    vips(RGB).pngsave(str(path), interlace=True)
    return RGB


def write_png16(path: Path) -> NDArray[np.uint8]:
    vips(RGB.astype(np.uint16) * 256 + 99, "rgb16").pngsave(str(path))
    return RGB


def write_gray_png(path: Path) -> NDArray[np.uint8]:
    vips(GRAY, "b-w").pngsave(str(path))
    return GRAY3


def write_palette_png(path: Path) -> NDArray[np.uint8]:
    blocks = np.where((np.arange(700) // 20 % 2)[None, :, None] == 0, np.uint8(30), np.uint8(220))
    pixels = np.ascontiguousarray(np.broadcast_to(blocks, (520, 700, 3)))
    vips(pixels).pngsave(str(path), palette=True, Q=100, dither=0)
    return pixels


def write_rgba_png(path: Path) -> NDArray[np.uint8]:
    alpha = np.full((*GRAY.shape, 1), 255, np.uint8)
    alpha[:, 600:] = 0
    vips(np.concatenate([RGB, alpha], -1)).pngsave(str(path))
    return np.where(alpha == 0, np.uint8(255), RGB)


def write_webp(path: Path) -> NDArray[np.uint8]:
    vips(RGB).webpsave(str(path), lossless=True)
    return RGB


WRITERS: dict[str, tuple[str, Callable[[Path], NDArray[np.uint8]], int, int]] = {
    # name: (file name, writer, tolerance in grey levels, number of levels)
    "page pyramid": ("a.tif", write_page_pyramid, 0, 4),
    "sub-IFD pyramid, BigTIFF": ("a.tif", write_subifd_pyramid, 0, 4),
    "JPEG pyramid": ("a.tif", write_jpeg_pyramid, 24, 4),
    "strips": ("a.tif", write_strips, 0, 1),
    "strip pyramid": ("a.tif", write_strip_pyramid, 0, 2),
    "OME-TIFF": ("a.ome.tif", write_ome, 0, 3),
    "OME-TIFF in planes": ("a.ome.tif", write_ome_planes, 0, 2),
    "OME-TIFF z-stack": ("a.ome.tif", write_ome_stack, 0, 1),
    "16-bit gray": ("a.tif", write_gray16, 0, 1),
    "RGBA tiles": ("a.tif", write_rgba_tiles, 0, 1),
    "oriented tiles": ("a.tif", write_oriented_tiles, 0, 1),
    "JPEG": ("a.jpg", write_jpeg, 8, 1),
    "JPEG with EXIF": ("a.jpg", write_exif_jpeg, 8, 1),
    "gray JPEG": ("a.jpg", write_gray_jpeg, 8, 1),
    "PNG": ("a.png", write_png, 0, 1),
    "interlaced PNG": ("a.png", write_interlaced_png, 0, 1),
    "16-bit PNG": ("a.png", write_png16, 0, 1),
    "gray PNG": ("a.png", write_gray_png, 0, 1),
    "palette PNG": ("a.png", write_palette_png, 0, 1),
    "RGBA PNG": ("a.png", write_rgba_png, 0, 1),
    "WebP": ("a.webp", write_webp, 0, 1),
    "PNG with a wrong name": ("a.jpg", write_png, 0, 1),
    "odd name": ("a b\n[page=7],é.tif", write_page_pyramid, 0, 4),
}


class TestWritten(SlideTests):
    @pytest.fixture(params=WRITERS, autouse=True)
    def slide(self, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Slide]:
        name, write, self.tolerance, self.count = WRITERS[request.param]
        self.pixels = write(tmp_path / name)
        slide = open_slide(tmp_path / name)
        yield slide
        slide.close()

    def expected(self) -> NDArray[np.uint8]:
        return self.pixels

    def test_has_all_levels(self, slide: Slide) -> None:
        assert len(slide.levels) == self.count


PUBLIC = ("CMU-1-Small-Region.svs", "boxes.tiff", "boxes_0.dcm", "small.svs", "test_orient6.tif", "yb10kx5k.zstd.tiff")


class TestPublic(SlideTests):
    @pytest.fixture(params=PUBLIC)
    def slide(self, request: pytest.FixtureRequest) -> Iterator[Slide]:
        slide = open_slide(data("slides") / request.param)
        yield slide
        slide.close()


class TestFake(SlideTests):
    @pytest.fixture
    def slide(self) -> Slide:
        return FakeSlide(RGB, downsamples=(1, 2, 4), background=(250, 240, 230))

    def expected(self) -> NDArray[np.uint8]:
        return RGB


class TestDisc(SlideTests):
    """Images too large for memory are decoded to a file: the same laws, and nothing left behind."""

    @pytest.fixture
    def slide(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Slide]:
        monkeypatch.setattr("pbsbatch.slides.flat.MEMORY_PX", 1000)
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temp"))
        (tmp_path / "temp").mkdir()
        write_exif_jpeg(tmp_path / "a.jpg")
        slide = open_slide(tmp_path / "a.jpg")
        yield slide
        assert not any((tmp_path / "temp").iterdir())

    def expected(self) -> NDArray[np.uint8]:
        return RGB

    tolerance = 8


class TestNgff(SlideTests):
    """OME-NGFF 0.5 as zarr writes it."""

    @pytest.fixture(params=["0.4", "0.5"])
    def slide(self, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Slide]:
        zarr = pytest.importorskip("zarr")
        new = request.param == "0.5"
        path = tmp_path / "a.zarr"
        group = zarr.open_group(path, mode="w", zarr_format=3 if new else 2)
        datasets = []
        for k in range(2):
            pixels = np.moveaxis(RGB[:: 2**k, :: 2**k], -1, 0)
            group.create_array(str(k), data=np.ascontiguousarray(pixels), chunks=(3, 128, 128))
            scale = [1.0, 0.25 * 2**k, 0.25 * 2**k]
            datasets.append({"path": str(k), "coordinateTransformations": [{"type": "scale", "scale": scale}]})
        axes = [{"name": "c", "type": "channel"}]
        axes += [{"name": n, "type": "space", "unit": "micrometer"} for n in "yx"]
        ome = {
            "version": request.param,
            "multiscales": [{"version": request.param, "axes": axes, "datasets": datasets}],
        }
        group.attrs.update({"ome": ome} if new else ome)
        slide = open_slide(path)
        assert slide.mpp == pytest.approx(0.25)
        yield slide
        slide.close()

    def expected(self) -> NDArray[np.uint8]:
        return RGB


def test_cmyk_jpeg_is_close_to_its_colours(tmp_path: Path) -> None:
    flat = np.full((64, 64, 3), (200, 60, 90), np.uint8)
    vips(flat).colourspace("cmyk").jpegsave(str(tmp_path / "a.jpg"), Q=99)
    found = open_slide(tmp_path / "a.jpg").read(0, 10, 10, 8, 8)
    assert np.abs(found.astype(int) - (200, 60, 90)).max() < 40


def test_notes_tell_which_plane_is_read(tmp_path: Path) -> None:
    write_ome_stack(tmp_path / "a.ome.tif")
    assert "z-stack of 5 planes: plane 3 is read" in open_slide(tmp_path / "a.ome.tif").notes


def test_libvips_and_openslide_read_the_same_pixels() -> None:
    from pbsbatch.geometry import Box
    from pbsbatch.slides.vendor import vendor_source

    path = data("slides/CMU-1-Small-Region.svs")
    fast, slow = open_slide(path), vendor_source(path).open()
    np.testing.assert_array_equal(fast.read(0, 311, 507, 900, 1200), slow.read(0, Box(311, 507, 900, 1200)))


def test_scales_of_the_formats(tmp_path: Path) -> None:
    write_ome(tmp_path / "a.ome.tif")
    slide = open_slide(tmp_path / "a.ome.tif")
    assert (slide.mpp, slide.mpp_source) == (pytest.approx(0.25), "metadata")
    write_jpeg(tmp_path / "plain.jpg")
    assert open_slide(tmp_path / "plain.jpg").mpp is None
    vips(RGB).copy(xres=4000, yres=4000).tiffsave(str(tmp_path / "t.tif"), resunit="cm")
    assert open_slide(tmp_path / "t.tif").mpp == pytest.approx(0.25)
    vips(RGB).copy(xres=4000, yres=4000).jpegsave(str(tmp_path / "t.jpg"))
    assert open_slide(tmp_path / "t.jpg").mpp == pytest.approx(0.25)
    vips(RGB).copy(xres=4000, yres=4000).pngsave(str(tmp_path / "t.png"))
    assert open_slide(tmp_path / "t.png").mpp == pytest.approx(0.25)
    given = open_slide(tmp_path / "t.png", mpp=0.5)
    assert (given.mpp, given.mpp_source) == (0.5, "given")


def test_opening_does_not_decode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_jpeg(tmp_path / "a.jpg")
    monkeypatch.setattr("pbsbatch.slides.flat.Flat._decode", None)
    assert open_slide(tmp_path / "a.jpg").levels[0].width == 700


def test_a_wide_level_renews_its_region(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_page_pyramid(tmp_path / "a.tif")
    monkeypatch.setattr("pbsbatch.slides.tiles.CACHE_PX", 1000)
    made, new = [], pyvips.Region.new
    monkeypatch.setattr(pyvips.Region, "new", lambda image: (made.append(1), new(image))[1])
    slide = open_slide(tmp_path / "a.tif")
    for _ in range(3):
        np.testing.assert_array_equal(slide.read(0, 100, 100, 200, 200), RGB[100:300, 100:300])
    assert len(made) == 3
