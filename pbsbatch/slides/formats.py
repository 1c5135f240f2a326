"""Tell what a file is from its name and first bytes, without opening an image library."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

__all__ = ["REFUSED", "SIDECARS", "SLIDE_SUFFIXES", "Kind", "sniff", "sniff_bytes"]

Kind = Literal["tiff", "flat", "vendor", "dicom", "refused", "unknown"]

VENDOR_SUFFIXES = frozenset({".mrxs", ".vms", ".vmu", ".svslide"})  # their first bytes say JPEG, text or SQLite
TIFF_SUFFIXES = frozenset({".tif", ".tiff", ".btf", ".tf8", ".svs", ".ndpi", ".scn", ".bif"})
FLAT_SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp"})
SLIDE_SUFFIXES = TIFF_SUFFIXES | FLAT_SUFFIXES | VENDOR_SUFFIXES | {".dcm"}

CONVERT = "Convert it to OME-TIFF with QuPath or Bio-Formats bfconvert"
SAVE_AS = "Save it as PNG or TIFF"
REFUSED: dict[str, tuple[str, str]] = {
    ".czi": ("Zeiss CZI", CONVERT),
    ".zvi": ("Zeiss ZVI", CONVERT),
    ".vsi": ("Olympus VSI", CONVERT),
    ".ets": ("Olympus VSI data", CONVERT),
    ".oir": ("Olympus OIR", CONVERT),
    ".lif": ("Leica LIF", CONVERT),
    ".nd2": ("Nikon ND2", CONVERT),
    ".isyntax": ("Philips iSyntax", "Export it as TIFF from the Philips viewer, or convert it with isyntax2raw"),
    ".kfb": ("KFBio KFB", "Export it as SVS or TIFF from K-Viewer"),
    ".sdpc": ("Sqray SDPC", "Export it as SVS or TIFF from the scanner's software"),
    ".tmap": ("Unic TMAP", "Export it as SVS or TIFF from the scanner's software"),
    ".mds": ("Motic MDS", "Export it as SVS or TIFF from the scanner's software"),
    ".mdsx": ("Motic MDSX", "Export it as SVS or TIFF from the scanner's software"),
    ".ims": ("Imaris IMS", CONVERT),
    ".jp2": ("JPEG 2000", CONVERT),
    ".j2k": ("JPEG 2000", CONVERT),
    ".jpx": ("JPEG 2000", CONVERT),
    ".jxl": ("JPEG XL", SAVE_AS),
    ".heic": ("HEIC", SAVE_AS),
    ".avif": ("AVIF", SAVE_AS),
    ".bmp": ("BMP", SAVE_AS),
    ".gif": ("GIF", SAVE_AS),
    ".dng": ("a camera's raw file", SAVE_AS),
    ".cr2": ("a camera's raw file", SAVE_AS),
    ".nef": ("a camera's raw file", SAVE_AS),
    ".arw": ("a camera's raw file", SAVE_AS),
    ".zip": ("a ZIP archive", "Unpack it first"),
    ".pdf": ("PDF", "Export its images first"),
}
MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"ZISRAWFILE", ".czi"),
    (b"\xda\xce\xbe\x0a", ".nd2"),
    (b"\x00\x00\x00\x0cjP  \r\n", ".jp2"),
    (b"\xff\x4f\xff\x51", ".jp2"),
    (b"\x00\x00\x00\x0cJXL ", ".jxl"),
    (b"\x89HDF\r\n\x1a\n", ".ims"),
    (b"BM", ".bmp"),
    (b"GIF8", ".gif"),
    (b"PK\x03\x04", ".zip"),
    (b"%PDF", ".pdf"),
)
SIDECARS = frozenset(
    {".xml", ".json", ".csv", ".tsv", ".txt", ".ini", ".log", ".md", ".rst", ".yaml", ".yml", ".toml", ".html", ".htm",
     ".geojson", ".qpdata", ".qpproj", ".md5", ".sha1", ".sha256", ".db", ".lnk", ".url", ".bak", ".tmp", ".part",
     ".xls", ".xlsx", ".doc", ".docx", ".py", ".sh", ".dat", ".annotations", ".opt", ".idx"}
)  # fmt: skip


def sniff_bytes(head: bytes) -> tuple[Kind, str]:
    """Return what the first 132 bytes say, and the key into REFUSED where the kind is refused."""
    if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return "tiff", ""
    if (
        head[:3] == b"\xff\xd8\xff"
        or head[:8] == b"\x89PNG\r\n\x1a\n"
        or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")
    ):
        return "flat", ""
    if head[128:132] == b"DICM":
        return "dicom", ""
    key = next((key for magic, key in MAGIC if head.startswith(magic)), "")
    return ("refused", key) if key else ("unknown", "")


def sniff(path: Path) -> tuple[Kind, str]:
    """Return what a file is, and the key into REFUSED. Raises OSError.

    A name decides where bytes mislead: an MRXS begins as a JPEG of its label, a VSI as a TIFF of its overview.
    """
    suffix = path.suffix.lower()
    if suffix in VENDOR_SUFFIXES:
        return "vendor", ""
    if suffix in (".vsi", ".isyntax", ".dng", ".cr2", ".nef", ".arw"):
        return "refused", suffix
    with path.open("rb") as file:
        kind, key = sniff_bytes(file.read(132))
    if kind == "unknown" and suffix in REFUSED:
        return "refused", suffix
    return kind, key
