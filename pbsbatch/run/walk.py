"""Walk an input folder and sort what lies in it: slides, what cannot be one, and what is left out on purpose.

Nothing is decoded; a file is opened only where its name does not tell. The order is by relative path, in bytes.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from pbsbatch.slides import dicom, formats
from pbsbatch.slides.files import vms_parts

__all__ = ["Skipped", "Walk", "is_run_output", "walk"]

MARKERS = (".pbsbatch", "run.json")
SYSTEM = frozenset(
    {"thumbs.db", "desktop.ini", "dicomdir", "slides.csv", "__macosx", "@eadir", "$recycle.bin", "lost+found"}
)
PROSE = frozenset(
    {".txt", ".md", ".rst", ".doc", ".docx", ".xls", ".xlsx", ".html", ".htm"}
)  # a person wrote them: say so
NOT_IMAGES = frozenset({".zip", ".pdf", ".gif"})
BESIDE = ("label", "macro", "thumbnail", "thumb", "overview")


@dataclass(frozen=True, slots=True)
class Skipped:
    """Something that is not analysed, and why."""

    path: Path
    reason: str


@dataclass(slots=True)
class Walk:
    """What one walk found."""

    slides: list[Path] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    excluded: list[Skipped] = field(default_factory=list)
    tables: list[Path] = field(default_factory=list)  # slides.csv files, outer before inner

    def leave_out(self, path: Path, reason: str) -> None:
        self.excluded.append(Skipped(path, reason))


def is_run_output(folder: Path) -> bool:
    """Say whether a folder holds the results of a run."""
    if (folder / MARKERS[0]).exists():
        return True
    try:
        with (folder / MARKERS[1]).open("rb") as file:
            return b"pbsbatch" in file.read(1 << 16)
    except OSError:
        return False


def walk(root: Path, output: Path | None) -> Walk:
    """Return what lies below root; output and other runs' results are left out, links are followed once."""
    found, seen, stack = Walk(), set[Path](), [root]
    avoid = None if output is None else output.resolve()
    while stack:
        folder = stack.pop()
        try:
            with os.scandir(folder) as entries:
                files, folders = _listing(entries)
        except OSError as error:
            found.skipped.append(Skipped(folder, f"cannot be listed: {error.strerror}"))
            continue
        real = folder.resolve()
        if real in seen:
            found.leave_out(folder, "a link to a folder already seen")
            continue
        seen.add(real)
        if folder != root and _stop(folder, files, folders, avoid, found):
            continue
        _sort_files(folder, files, found)
        stack += [folder / name for name in reversed(_sort_folders(folder, files, folders, found))]
    found.slides.sort(key=lambda path: os.fsencode(path.relative_to(root).as_posix()))
    return found


def _listing(entries: Iterable[os.DirEntry[str]]) -> tuple[list[str], list[str]]:
    """Return file and folder names, real folders before links so that the real name wins."""
    files, folders, links = [], [], []
    for entry in entries:
        if not entry.is_dir():
            files.append(entry.name)
        elif entry.is_symlink():
            links.append(entry.name)
        else:
            folders.append(entry.name)
    return sorted(files, key=os.fsencode), sorted(folders, key=os.fsencode) + sorted(links, key=os.fsencode)


def _stop(folder: Path, files: list[str], folders: list[str], avoid: Path | None, found: Walk) -> bool:
    """Say whether a folder is one thing, not a place to look into."""
    if (avoid is not None and folder.resolve() == avoid) or (
        any(marker in files or marker in folders for marker in MARKERS) and is_run_output(folder)
    ):
        found.leave_out(folder, "results of a run")
        return True
    if folder.suffix.lower() == ".zarr" or any(name in files for name in ("zarr.json", ".zattrs", ".zgroup")):
        reason = _not_ngff(folder)
        if reason is None:
            found.slides.append(folder)
        elif reason.startswith("results"):
            found.leave_out(folder, reason)
        else:
            found.skipped.append(Skipped(folder, reason))
        return True
    return False


def _not_ngff(folder: Path) -> str | None:
    """Return why a Zarr folder is no slide, or None where it is one."""
    for name in ("zarr.json", ".zattrs"):
        try:
            content = json.loads((folder / name).read_bytes())
            attributes = content.get("attributes", {}) if name == "zarr.json" else content
            if "pbsbatch" in attributes:
                return "results of a run"
            image = attributes.get("ome", attributes)
            if "multiscales" in image or "bioformats2raw.layout" in image:
                return None
        except FileNotFoundError:
            continue
        except (OSError, ValueError, AttributeError, TypeError) as error:
            return f"a Zarr folder whose {name} cannot be read: {error}"
    return "a Zarr folder, but no OME-NGFF image"


def _sort_folders(folder: Path, files: list[str], folders: list[str], found: Walk) -> list[str]:
    """Return the folders to look into: not hidden, not a companion of a file beside them."""
    owners = {Path(f).stem: f for f in files if f.lower().endswith(".mrxs")}
    owners |= {f"_{Path(f).stem}_": f for f in files if f.lower().endswith(".vsi")}
    kept = []
    for name in folders:
        if name.startswith(".") or name.lower() in SYSTEM:
            found.leave_out(folder / name, "hidden or a system's own")
        elif name in owners:
            found.leave_out(folder / name, f"belongs to {owners[name]}")
        else:
            kept.append(name)
    return kept


def _sort_files(folder: Path, files: list[str], found: Walk) -> None:
    parts = _vms_parts(folder, files)
    stems = {Path(name).stem for name in files if Path(name).suffix.lower() in formats.SLIDE_SUFFIXES}
    series: dict[str, list[Path]] = defaultdict(list)
    slides = 0
    for name in files:
        path = folder / name
        reason = _left_out(name, stems, parts)
        if name == "slides.csv":
            found.tables.append(path)
        elif reason is not None:
            found.leave_out(path, reason)
        else:
            kind, why = _kind(path)
            if kind == "dicom":
                series[_series(path)].append(path)
            elif kind == "slide":
                found.slides.append(path)
                slides += 1
            else:
                found.skipped.append(Skipped(path, why))
    alone = len(series) == 1 and not slides  # then the folder is the slide
    for members in series.values():
        found.slides.append(folder if alone and len(members) > 1 else members[0])
        for path in members[0 if alone and len(members) > 1 else 1 :]:
            found.leave_out(path, "one slide with the other DICOM files of its series")


def _left_out(name: str, stems: set[str], parts: set[str]) -> str | None:
    """Return why a file beside slides is passed over without a word in the results, or None."""
    path = Path(name)
    suffix, stem = path.suffix.lower(), path.stem
    if name.startswith((".", "~$")) or name.lower() in SYSTEM:
        return "hidden or a system's own"
    if name in parts:
        return "belongs to a VMS slide"
    if stem.lower().endswith(".labels") and suffix in formats.TIFF_SUFFIXES:
        return "a label image"
    if suffix in formats.SIDECARS and (suffix not in PROSE or stem in stems):
        return "a sidecar"
    if suffix in formats.FLAT_SUFFIXES:
        for word in BESIDE:
            owner = stem[: -len(word)].rstrip("_-. ") if stem.lower().endswith(word) else ""
            if owner and owner != stem and owner in stems:
                return f"the {word} image of {owner}, which may carry a patient's name"
    return None


def _kind(path: Path) -> tuple[str, str]:
    """Return "slide", "dicom" or "" with the reason; names decide where they can, else the first bytes."""
    suffix = path.suffix.lower()
    if suffix == ".dcm":
        return "dicom", ""
    if suffix in formats.SLIDE_SUFFIXES or (suffix in formats.REFUSED and suffix not in NOT_IMAGES):
        return "slide", ""  # what is not read fails when opened, with the cure: nobody shall miss it in the morning
    try:
        kind, key = formats.sniff(path) if path.is_file() else ("unknown", "")
    except OSError as error:
        return "", f"cannot be read: {error.strerror}"
    if kind in ("tiff", "flat") or (kind == "refused" and key not in NOT_IMAGES):
        return "slide", ""
    if kind == "dicom":
        return "dicom", ""
    return "", f"not a slide: {formats.REFUSED[key][0]}" if key else "not a slide"


def _series(path: Path) -> str:
    """Return what groups DICOM files: the series, else the file alone, which then fails when opened."""
    try:
        return dicom.series_uid(path) or str(path)
    except OSError:
        return str(path)


def _vms_parts(folder: Path, files: list[str]) -> set[str]:
    """Return the names of the JPEGs that VMS files list; one of them is the macro image."""
    return {part for name in files if name.lower().endswith((".vms", ".vmu")) for part in vms_parts(folder / name)}
