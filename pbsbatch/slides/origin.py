"""What a file says of the scanner that made it, and of when: quality is followed over time scanner by scanner. Pure.

Laws. Only the fields named here are read, never a free text. What cannot be a time, or is of
another form, is blank; a time is the scanner's own clock, without a zone. Results that hide names keep none of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from pbsbatch.errors import one_line

__all__ = ["NOBODY", "Origin", "from_aperio", "from_openslide", "from_tiff_tags"]

MOST_TEXT = 80
YEARS = (1990, 2100)
APERIO = ("ScanScope ID", "Date", "Time")
SCANNERS: tuple[tuple[str, ...], ...] = (
    ("aperio.ScanScope ID",), ("leica.device-model",), ("dicom.ManufacturerModelName", "dicom.DeviceSerialNumber"),
    ("philips.DICOM_MANUFACTURER", "philips.DICOM_DEVICE_SERIAL_NUMBER"), ("ventana.UnitNumber",),
    ("tiff.Make", "tiff.Model"),
)  # fmt: skip
"""Names under which OpenSlide gives what a scanner calls itself: the first that are there."""
AMERICAN, TAGGED, COMPACT = (
    ("%m/%d/%y %H:%M:%S", "%m/%d/%Y %H:%M:%S"),
    ("%Y:%m:%d %H:%M:%S",),
    ("%Y%m%d%H%M%S", "%Y%m%d"),
)
EUROPEAN, ISO = ("%d/%m/%Y %H:%M:%S",), ("%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%M:%S%z")
MOMENTS: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    (("aperio.Date", "aperio.Time"), AMERICAN), (("leica.creation-date",), ISO),
    (("dicom.AcquisitionDateTime",), COMPACT), (("philips.DICOM_ACQUISITION_DATETIME",), COMPACT),
    (("mirax.GENERAL.SLIDE_CREATIONDATETIME",), EUROPEAN),
    (("tiff.DateTime",), TAGGED),
)  # fmt: skip
"""And when it scanned, each in its own form."""


@dataclass(frozen=True, slots=True)
class Origin:
    """The scanner's name, and when it scanned as YYYY-MM-DDTHH:MM:SS; blank where nothing tells."""

    scanner: str = ""
    scanned: str = ""


NOBODY = Origin()


def from_openslide(facts: Mapping[str, str]) -> Origin:
    """Return what OpenSlide's properties say."""
    scanner = next((found for names in SCANNERS if (found := _joined(facts, names))), "")
    moments = (_moment(_joined(facts, names), forms) for names, forms in MOMENTS)
    return Origin(_text(scanner), next((found for found in moments if found), ""))


def from_aperio(description: str) -> Origin:
    """Return what Aperio's "key = value|key = value" says."""
    parts = (part.partition("=") for part in description[: 1 << 16].split("|")[1:])
    said = {name.strip(): value.strip() for name, _, value in parts}
    return Origin(_text(_joined(said, APERIO[:1])), _moment(_joined(said, APERIO[1:]), AMERICAN))


def from_tiff_tags(make: str, model: str, moment: str) -> Origin:
    """Return what a TIFF's own tags say."""
    return Origin(_text(f"{make} {model}"), _moment(moment, TAGGED))


def _joined(facts: Mapping[str, str], names: tuple[str, ...]) -> str:
    return " ".join(facts[name].strip() for name in names if facts.get(name))


def _text(text: str) -> str:
    return one_line(text[: 4 * MOST_TEXT])[:MOST_TEXT]


def _moment(text: str, forms: tuple[str, ...]) -> str:
    """Return a time that is in one of the forms, fractions of a second left out."""
    plain = text.strip()[:MOST_TEXT].partition(".")[0]
    for form in forms:
        try:
            found = datetime.strptime(plain, form).replace(tzinfo=None)
        except ValueError:
            continue
        if YEARS[0] <= found.year < YEARS[1]:
            return found.isoformat(timespec="seconds")
    return ""
