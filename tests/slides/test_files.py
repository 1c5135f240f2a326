"""Which files a slide is made of."""

from __future__ import annotations

import struct
from pathlib import Path

from pbsbatch.slides.files import slide_files


def names(path: Path) -> list[str]:
    return [file.relative_to(path.parent).as_posix() for file in slide_files(path)]


def dicom(uid: str) -> bytes:
    """The first bytes of a DICOM file of a series."""
    value = uid.encode() + b"\0" * (len(uid) % 2)
    return b"\0" * 128 + b"DICM" + struct.pack("<HH2sH", 0x0020, 0x000E, b"UI", len(value)) + value


def test_one_file_is_alone(tmp_path: Path) -> None:
    for name in ("a.svs", "b.svs", "a.xml"):
        (tmp_path / name).write_bytes(b"x")
    assert names(tmp_path / "a.svs") == ["a.svs"]


def test_a_folder_is_all_that_lies_in_it(tmp_path: Path) -> None:
    (tmp_path / "a.zarr" / "0" / "c").mkdir(parents=True)
    for name in ("zarr.json", "0/zarr.json", "0/c/0"):
        (tmp_path / "a.zarr" / name).write_bytes(b"x")
    assert names(tmp_path / "a.zarr") == ["a.zarr/0/c/0", "a.zarr/0/zarr.json", "a.zarr/zarr.json"]


def test_an_mrxs_has_its_folder(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for name in ("a.mrxs", "a/Slidedat.ini", "a/Data0001.dat", "b.mrxs"):
        (tmp_path / name).write_bytes(b"x")
    assert names(tmp_path / "a.mrxs") == ["a.mrxs", "a/Data0001.dat", "a/Slidedat.ini"]
    assert names(tmp_path / "b.mrxs") == ["b.mrxs"]


def test_a_vms_has_what_it_lists_beside_it_and_nothing_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "secret.jpg").write_bytes(b"x")
    for name in ("1.jpg", "map.opt", "other.jpg"):
        (tmp_path / "in" / name).write_bytes(b"x")
    listed = ("1.jpg", "map.opt", "../secret.jpg", f"{tmp_path}/secret.jpg", "1")
    (tmp_path / "in" / "a.vms").write_text("".join(f"Key{i}={value}\n" for i, value in enumerate(listed)))
    assert names(tmp_path / "in" / "a.vms") == ["a.vms", "1.jpg", "map.opt"]


def test_a_dicom_file_has_the_others_of_its_series(tmp_path: Path) -> None:
    for name, uid in (("1.dcm", "1.2"), ("2.dcm", "1.2"), ("3.dcm", "1.3")):
        (tmp_path / name).write_bytes(dicom(uid))
    (tmp_path / "4.dcm").write_bytes(b"broken")
    (tmp_path / "5.dcm").write_bytes(b"broken too")
    assert names(tmp_path / "2.dcm") == ["2.dcm", "1.dcm"]
    assert names(tmp_path / "4.dcm") == ["4.dcm"]
