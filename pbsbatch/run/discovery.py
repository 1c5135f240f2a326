"""Find the slides below the inputs, name them, and join what slides.csv says about them."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from pbsbatch.errors import UsageError, one_line
from pbsbatch.run.slides_csv import Row, read_slides_csv
from pbsbatch.run.walk import Skipped, Walk, is_run_output, walk
from pbsbatch.slides.base import SlideRef

__all__ = ["Discovery", "Skipped", "discover"]


@dataclass(frozen=True, slots=True)
class Discovery:
    """What a run will work on, and what it will not.

    skipped: files that are no slides though someone may have meant them; excluded: left out on purpose.
    relative: by slide id, the path that names the slide, the same on every machine.
    """

    slides: tuple[SlideRef, ...]
    skipped: tuple[Skipped, ...] = ()
    excluded: tuple[Skipped, ...] = ()
    warnings: tuple[str, ...] = ()
    relative: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Found:
    path: Path
    relative: str  # names the slide: unambiguous over all inputs, the same on every machine


def discover(inputs: Sequence[Path], *, output: Path | None, mpp: float | None) -> Discovery:
    """Return the slides below the inputs in a stable order. Raises UsageError where there is none.

    Law: order and ids depend on relative paths alone. A row of slides.csv wins over mpp, which is for all.
    """
    if not inputs:
        raise UsageError("no input was given", cure="Give a folder of slides with --input")
    found: list[_Found] = []
    skipped: list[Skipped] = []
    excluded: list[Skipped] = []
    tables: list[Path] = []
    for path, label in zip(inputs, _labels(inputs), strict=True):
        walked = _look(path, output)
        found += [_Found(slide, _relative(slide, path, label)) for slide in walked.slides]
        skipped += walked.skipped
        excluded += walked.excluded
        tables += walked.tables
    unique, twice = _unique(found)
    refs = _refs(unique, mpp)
    relative = {ref.id: item.relative for ref, item in zip(refs, unique, strict=True)}
    refs, left_out, warnings = _join(refs, dict.fromkeys(tables), {p.resolve() for p in inputs if p.is_file()})
    excluded += [*twice, *left_out]
    if not refs:
        raise _nothing(inputs, skipped, excluded)
    return Discovery(tuple(refs), tuple(skipped), tuple(excluded), tuple(warnings), relative)


def _look(path: Path, output: Path | None) -> Walk:
    if not path.exists():
        raise UsageError("no such file or folder", path=path, cure="Check --input")
    if path.is_file():
        table = path.parent / "slides.csv"
        return Walk(slides=[path], tables=[table] if table.is_file() else [])
    if is_run_output(path):
        raise UsageError("this is a folder of results, not of slides", path=path, cure="Give the slides with --input")
    if output is not None and output.resolve() == path.resolve():
        raise UsageError("input and output are the same folder", path=path, cure="Give another --output")
    if path.suffix.lower() == ".zarr" or (path / ".zattrs").is_file() or (path / "zarr.json").is_file():
        return Walk(slides=[path])
    return walk(path, output)


def _labels(inputs: Sequence[Path]) -> list[str]:
    """Return the shortest ends of the inputs' paths that tell them apart; none for a single folder."""
    if len(inputs) == 1:
        return [""]
    parts = [tuple(Path(os.path.abspath(p)).parts) for p in inputs]  # noqa: PTH100 - resolve() would follow links
    labels = []
    for own in parts:
        others = [other for other in parts if other != own]
        n = next((n for n in range(1, len(own)) if all(o[-n:] != own[-n:] for o in others)), len(own))
        labels.append("/".join(own[-n:]).lstrip("/"))
    return labels


def _relative(slide: Path, root: Path, label: str) -> str:
    inside = slide.relative_to(root).as_posix() if slide != root else ""
    return "/".join(part for part in (label, inside) if part) or Path(os.path.abspath(slide)).name  # noqa: PTH100


def _unique(found: Iterable[_Found]) -> tuple[list[_Found], list[Skipped]]:
    """Return each file once, though several inputs or links lead to it."""
    seen: dict[tuple[int, int], _Found] = {}
    unique: list[_Found] = []
    twice: list[Skipped] = []
    for item in found:
        try:
            status = item.path.stat()
        except OSError:  # a dangling link: kept, it fails when opened
            unique.append(item)
            continue
        first = seen.setdefault((status.st_dev, status.st_ino), item)
        # some network file systems give one inode number to all files: believe it only where it can be so
        if first is item or (status.st_nlink == 1 and item.path.resolve() != first.path.resolve()):
            unique.append(item)
        else:
            twice.append(Skipped(item.path, f"the same file as {first.relative}"))
    return unique, twice


def _refs(found: Iterable[_Found], mpp: float | None) -> list[SlideRef]:
    refs: list[SlideRef] = []
    taken = set[str]()
    for item in found:
        digest = hashlib.sha256(os.fsencode(item.relative)).hexdigest()
        stem = re.sub(r"[^A-Za-z0-9._-]+", "_", Path(item.relative).stem).strip("._-")[:60] or "slide"
        slide_id = next(s for s in (f"{stem}-{digest[:n]}" for n in (8, 16, 64)) if s not in taken)
        taken.add(slide_id)
        name = one_line(os.fsencode(item.relative).decode("utf-8", "replace"))
        refs.append(SlideRef(slide_id, item.path, name, sample=slide_id, mpp=mpp))
    return refs


def _join(
    refs: list[SlideRef], tables: Iterable[Path], single: set[Path]
) -> tuple[list[SlideRef], list[Skipped], list[str]]:
    """Return refs with what the tables say, those left out, and warnings; an inner table wins over an outer."""
    current = {ref.id: ref for ref in refs}
    left_out: dict[str, Skipped] = {}
    warnings = []
    for table in tables:
        by_key = _keys(refs, table.parent)
        for row in read_slides_csv(table):
            matches = by_key.get(row.slide, [])
            if len(matches) > 1:
                what = f"line {row.line}, column slide: {row.slide!r} matches {len(matches)} files"
                raise UsageError(what, path=table, cure="Give the path relative to slides.csv")
            if not matches:
                if not single:
                    warnings.append(f"{table}, line {row.line}: no slide {row.slide!r}")
                continue
            ref = matches[0]
            current[ref.id] = _apply(current[ref.id], row)
            left_out.pop(ref.id, None)
            if row.exclude:
                left_out[ref.id] = Skipped(ref.path, f"excluded by {table.name} line {row.line}")
    return [current[ref.id] for ref in refs if ref.id not in left_out], list(left_out.values()), warnings


def _keys(refs: Iterable[SlideRef], folder: Path) -> dict[str, list[SlideRef]]:
    """Return slides below a folder by relative path and by file name."""
    keys: dict[str, list[SlideRef]] = {}
    for ref in refs:
        if ref.path.is_relative_to(folder):
            for key in {ref.path.relative_to(folder).as_posix(), ref.path.name}:
                keys.setdefault(key, []).append(ref)
    return keys


def _apply(ref: SlideRef, row: Row) -> SlideRef:
    return replace(
        ref,
        mpp=ref.mpp if row.mpp is None else row.mpp,
        sample=one_line(row.sample) or ref.sample,
        name=one_line(row.name) or ref.name,
    )


def _nothing(inputs: Sequence[Path], skipped: Sequence[Skipped], excluded: Sequence[Skipped]) -> UsageError:
    others = (*skipped, *excluded)
    seen = ""
    if others:
        seen = f"; {len(others)} other files were passed over, first {others[0].path.name}: {others[0].reason}"
    where = inputs[0] if len(inputs) == 1 else None
    cure = "Slides are TIFF, SVS, NDPI, MRXS, SCN, BIF, DICOM, OME-TIFF, OME-Zarr, JPEG, PNG or WebP files"
    return UsageError(f"no slide found{seen}", path=where, cure=cure)
