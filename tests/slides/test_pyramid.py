"""Which pages of a TIFF are the slide: label and macro pages carry patients' names and are never decoded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import pyvips
import tifffile

from pbsbatch.slides import ome, open_slide, tiff
from tests.data import data

RNG = np.random.default_rng(3)
BASE = np.kron(RNG.integers(0, 256, (50, 64, 3), dtype=np.uint8), np.ones((16, 16, 1), np.uint8))  # 1024 x 800
SAID = "Aperio Leica Biosystems GT450 v1.0.1\n1024x800 [0,0,1024x800] (256x256) JPEG/RGB Q=91|AppMag = 40|MPP = 0.2636"


def write_svs(path: Path, *, label_like_a_level: bool = False) -> None:
    """Write what a GT450 writes: level pages tiled, thumbnail, label and macro behind them with empty descriptions."""
    label = BASE[::4, ::4] // 2 if label_like_a_level else BASE[:300, :300] // 2
    with tifffile.TiffWriter(path) as tif:
        tif.write(BASE, photometric="rgb", tile=(256, 256), description=SAID, metadata=None)
        tif.write(BASE[::8, ::8], photometric="rgb", description=SAID, metadata=None)  # thumbnail: strips
        tif.write(BASE[::4, ::4], photometric="rgb", tile=(256, 256), description=SAID, metadata=None)
        tile = {"tile": (64, 64)} if label_like_a_level else {}
        tif.write(label, photometric="rgb", subfiletype=1, metadata=None, **tile)
        tif.write(BASE[:100, :600], photometric="rgb", subfiletype=9, metadata=None)


@pytest.mark.parametrize("label_like_a_level", [False, True])
def test_label_and_macro_are_named_and_never_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, label_like_a_level: bool
) -> None:
    write_svs(tmp_path / "a.svs", label_like_a_level=label_like_a_level)
    opened = []
    load = pyvips.Image.tiffload
    monkeypatch.setattr(pyvips.Image, "tiffload", lambda *a, **k: (opened.append(k["page"]), load(*a, **k))[1])
    slide = open_slide(tmp_path / "a.svs")
    assert slide.format == "SVS (Aperio)"
    assert slide.associated == ("thumbnail", "label", "macro")
    assert [(v.width, v.height, v.downsample) for v in slide.levels] == [(1024, 800, 1), (256, 200, 4)]
    assert (slide.mpp, slide.mpp_source) == (0.2636, "metadata")
    np.testing.assert_array_equal(slide.read(1, 0, 0, 256, 200), BASE[::4, ::4])
    np.testing.assert_array_equal(slide.read(0, 0, 0, 1024, 800), BASE)
    slide.thumbnail(100)
    assert set(opened) == {0, 2}


def test_a_real_svs_keeps_its_label_to_itself() -> None:
    slide = open_slide(data("slides/CMU-1-Small-Region.svs"))
    assert len(slide.levels) == 1 and set(slide.associated) == {"label", "macro", "thumbnail"}
    assert slide.mpp == 0.499


def test_a_sparse_svs_goes_to_openslide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_svs(tmp_path / "a.svs")
    monkeypatch.setattr(tiff.Ifd, "sparse", True)
    slide = open_slide(tmp_path / "a.svs")
    assert type(slide._source.open()).__module__ == "pbsbatch.slides.vendor"
    np.testing.assert_array_equal(slide.read(1, 0, 0, 256, 200), BASE[::4, ::4])


def test_other_pages_of_a_plain_tiff_are_no_levels(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as tif:
        tif.write(BASE, photometric="rgb", tile=(256, 256))
        tif.write(BASE[::2, ::2], photometric="rgb", tile=(256, 256), subfiletype=1)
        tif.write(BASE[:150, :340], photometric="rgb", tile=(256, 256))  # another shape
        tif.write(BASE[::3, ::3][:, :, 0].copy(), photometric="minisblack", tile=(256, 256))  # another colour
        tif.write(BASE[::4, ::4], photometric="rgb", tile=(256, 256), description="Label image", metadata=None)
    slide = open_slide(tmp_path / "a.tif")
    assert [v.width for v in slide.levels] == [1024, 512]
    assert slide.associated == ("page 3", "page 4", "label")


def test_the_largest_page_is_the_slide_wherever_it_is(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as tif:
        tif.write(BASE[::4, ::4], photometric="rgb", tile=(256, 256))
        tif.write(BASE, photometric="rgb", tile=(256, 256))
    slide = open_slide(tmp_path / "a.tif")
    np.testing.assert_array_equal(slide.read(0, 0, 0, 1024, 800), BASE)


def test_pages_of_one_size_are_noted(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.stack([BASE, BASE // 2]), photometric="rgb", metadata=None)
    slide = open_slide(tmp_path / "a.tif")
    assert slide.notes == ("2 pages of one size: page 1 is read",)
    np.testing.assert_array_equal(slide.read(0, 0, 0, 1024, 800), BASE)


def xml(pixels: str, more: str = "") -> str:
    return (
        '<?xml version="1.0" encoding="UTF-8"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">'
        f"<Image><Pixels {pixels}><Channel SamplesPerPixel='3'/><TiffData/></Pixels></Image>{more}</OME>"
    )


SIZE = "SizeX='100' SizeY='90' SizeC='3' SizeT='1' DimensionOrder='XYCZT'"


@pytest.mark.parametrize(
    ("attributes", "scale"),
    [
        ("PhysicalSizeX='0.25' PhysicalSizeY='0.25'", (0.25, 0.25)),
        ("PhysicalSizeX='250' PhysicalSizeXUnit='nm' PhysicalSizeY='0.00025' PhysicalSizeYUnit='mm'", (0.25, 0.25)),
        ("PhysicalSizeX='1' PhysicalSizeXUnit='pixel' PhysicalSizeY='1' PhysicalSizeYUnit='pixel'", None),
        ("PhysicalSizeX='0' PhysicalSizeY='0'", None),
        ("", None),
    ],
)
def test_ome_physical_sizes(attributes: str, scale: tuple[float, float] | None) -> None:
    found = ome.parse(xml(f"{SIZE} SizeZ='1' {attributes}")).scale.scanner
    assert found == (scale if scale is None else pytest.approx(scale))


@pytest.mark.parametrize(("z", "page"), [(1, 0), (2, 1), (5, 2)])
def test_ome_reads_the_middle_plane(z: int, page: int) -> None:
    image = ome.parse(xml(f"{SIZE} SizeZ='{z}'"))
    assert image.pages == (page,)
    assert image.notes == ((f"z-stack of {z} planes: plane {page + 1} is read",) if z > 1 else ())


def test_ome_names_other_images_and_objectives() -> None:
    label = f"<Image Name='label image'><Pixels {SIZE.replace('100', '50')} SizeZ='1'/></Image>"
    objective = "<Instrument><Objective NominalMagnification='40'/></Instrument>"
    image = ome.parse(xml(f"{SIZE} SizeZ='1'", label + objective))
    assert image.associated == ("label image",) and image.scale.objective == 40


@pytest.mark.parametrize(
    "text",
    [
        "<OME><Image></OME>",
        "<OME></OME>",
        '<!DOCTYPE x [<!ENTITY a "aaaa">]><OME></OME>',
        xml(f"{SIZE} SizeZ='many'"),
        xml(f"{SIZE} SizeZ='-3'"),
        xml(SIZE.replace("XYCZT", "ABC") + " SizeZ='1'"),
    ],
)
def test_damaged_ome_xml_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"OME-XML|invalid literal"):
        ome.parse(text)


def test_a_damaged_ome_tiff_is_read_as_a_plain_one(tmp_path: Path) -> None:
    tifffile.imwrite(
        tmp_path / "a.tif", BASE, photometric="rgb", tile=(256, 256), description="<OME><Image></OME>", metadata=None
    )
    slide = open_slide(tmp_path / "a.tif")
    assert slide.format == "TIFF" and "plain TIFF" in slide.notes[0]


def test_directories_that_loop_are_refused(tmp_path: Path) -> None:
    body = b"\1\0" + b"\0\1\4\0\1\0\0\0\7\0\0\0" + (8).to_bytes(4, "little")
    (tmp_path / "a.tif").write_bytes(b"II*\0\x08\0\0\0" + body)
    with pytest.raises(tiff.Malformed, match="does not end"):
        tiff.read_ifds(tmp_path / "a.tif")


@pytest.mark.parametrize("bigtiff", [False, True])
@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_directories_of_every_flavour(tmp_path: Path, bigtiff: bool, byteorder: str) -> None:
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path, bigtiff=bigtiff, byteorder=byteorder) as tif:
        options = {"photometric": "rgb", "tile": (256, 256), "resolution": (40000, 40000), "resolutionunit": 3}
        tif.write(BASE, subifds=1, **options)
        tif.write(BASE[::2, ::2], subfiletype=1, **options)
    (page,) = tiff.read_ifds(path)
    assert (page.width, page.height, page.tiled, len(page.subs)) == (1024, 800, True, 1)
    assert page.um_per_px == pytest.approx((0.25, 0.25)) and page.extent <= path.stat().st_size and not page.sparse
    slide = open_slide(path)
    assert slide.mpp == pytest.approx(0.25) and len(slide.levels) == 2
    np.testing.assert_array_equal(slide.read(0, 0, 0, 1024, 800), BASE)
