"""Hold a folder of results against its manifest: what changed, what is missing, what does not belong.

Law: everything is read, in pieces; memory holds one store's list at a time. Nothing is written.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pbsbatch.disk import file_sha256
from pbsbatch.errors import UsageError
from pbsbatch.run import manifest
from pbsbatch.run.keyfile import default_key_file, read_names
from pbsbatch.run.output import MARKER, PAGES, is_deidentified, owner_of
from pbsbatch.run.slide_digest import digest_slide
from pbsbatch.store.seal import FOLDER as SEALS
from pbsbatch.store.seal import files_below, read_seal, seal_path

__all__ = ["Verdict", "verify"]

OnBytes = Callable[[int], None]


@dataclass(slots=True)
class Verdict:
    """What was found. Paths are relative to the results; slides go by their ids."""

    changed: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    extra: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)  # nothing to compare with: no verdict
    files: int = 0
    slides: int = 0

    @property
    def right(self) -> bool:
        """Say whether everything that can be compared is as it was."""
        return not (self.changed or self.missing or self.extra)


def verify(
    out: Path, *, slides: bool = False, key_file: Path | None = None,
    on_start: Callable[[int, int], None] = lambda files, size: None, on_file: Callable[[], None] = lambda: None,
    on_bytes: OnBytes = lambda size: None,
) -> Verdict:  # fmt: skip
    """Check all results, and with `slides` the slides' own bytes. Raises UsageError where there is no manifest.

    on_start hears how many files of results and bytes of slides there are to read.
    """
    facts = _read(out)
    work = _Verifying(out, on_file, on_bytes)
    known = {name: one for name, one in facts["slides"].items() if one["sha256"] is not None} if slides else {}
    files = len(facts["files"]) + len(facts["pages"]) + sum(1 + (one["files"] or 0) for one in facts["stores"].values())
    on_start(files, sum(one["bytes"] for one in known.values()))
    work.tables(facts["files"], facts["pages"])
    work.stores(facts["stores"])
    if slides:
        work.slides(facts["slides"], _paths(out, facts, key_file))
    return work.verdict


def _read(out: Path) -> dict[str, Any]:
    """Return the manifest of results at rest."""
    if not (out / MARKER).is_dir():
        raise UsageError(
            "no such folder" if not out.exists() else "not a folder of results",
            path=out,
            cure="Give the --output of a run",
        )
    owner = owner_of(out)
    if owner is not None:
        raise UsageError(f"a run is at work here ({owner})", path=out, cure="Verify when it has ended")
    path = out / manifest.FILE
    try:
        facts = json.loads(path.read_bytes())
        if facts["format"] != manifest.FORMAT:
            what = f"a manifest of format {facts['format']}, not {manifest.FORMAT}"
            raise UsageError(what, path=path, cure="Verify with the version of pbsbatch that wrote it")
        return _checked(facts)
    except FileNotFoundError as error:
        cure = "It is written when a run has ended: run again, which keeps what is done"
        raise UsageError("there is no manifest", path=path, cure=cure) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError("the manifest is damaged", path=path, cure="Run again, which writes a new one") from error


def _checked(facts: dict[str, Any]) -> dict[str, Any]:
    """Refuse a manifest that lacks what is read from it, or names files elsewhere."""
    for name, one in (
        *facts["files"].items(),
        *facts["pages"].items(),
        *facts["stores"].items(),
        *facts["slides"].items(),
    ):
        if "/" in name or name in ("", ".", ".."):
            raise ValueError(f"{name!r} is no plain name")
        if not isinstance(one["sha256"], str | None):
            raise TypeError("a digest is text")
    for one in (*facts["stores"].values(), *facts["slides"].values()):
        if not isinstance(one["files"], int | None):
            raise TypeError("a count is a number")
    for one in facts["slides"].values():
        if not isinstance(one["bytes"], int | None) or (one["bytes"] is None) != (one["sha256"] is None):
            raise TypeError("a size is a number")
    return facts


def _paths(out: Path, facts: Mapping[str, Any], key_file: Path | None) -> dict[str, Path]:
    """Return where the slides lie: the manifest says it, or the table beside the key."""
    if not is_deidentified(out):
        return {name: Path(one["path"]) for name, one in facts["slides"].items()}
    key = (key_file or default_key_file()).absolute()
    rows = [row for row in read_names(key) if row.kind == "slide"]
    rows.sort(key=lambda row: row.results == str(out.absolute()))  # of several with one id, the one of this folder
    paths = {row.id: Path(row.original) for row in rows}
    if not paths.keys() & facts["slides"].keys():
        raise UsageError(
            f"the slides' names are hidden, and the table beside {key} knows none of them", path=out,
            cure="Give the key that they were made with by --key-file, or leave --slides out",
        )  # fmt: skip
    return paths


class _Verifying:
    """One verification in progress."""

    def __init__(self, out: Path, on_file: Callable[[], None], on_bytes: OnBytes) -> None:
        self.out, self.on_file, self.on_bytes = out, on_file, on_bytes
        self.verdict = Verdict()

    def tables(self, files: Mapping[str, Any], pages: Mapping[str, Any]) -> None:
        """Check what lies at the top: tables, logs, the report, and what should not be there."""
        for name, one in files.items():
            self._file(self.out / name, name, one["sha256"])
        for path in sorted(self.out.iterdir()):
            if path.name not in files and path.name not in (MARKER, PAGES, manifest.FILE, "slides", SEALS):
                self.verdict.extra.append(path.name)
        for name, one in pages.items():
            self._file(self.out / PAGES / name, f"{PAGES}/{name}", one["sha256"])
        self._only(PAGES, set(pages))

    def stores(self, stores: Mapping[str, Any]) -> None:
        """Check each store against its seal, its seal against the manifest."""
        for slide_id, one in stores.items():
            label, seal = f"slides/{slide_id}.zarr", seal_path(self.out, slide_id)
            if one["sha256"] is None:
                self.verdict.unknown.append(label)
            elif not (self.out / label).is_dir():
                self.verdict.missing.append(label)
            else:
                self._file(seal, f"{SEALS}/{seal.name}", one["sha256"])
                self._store(label, read_seal(seal))
        self._only("slides", {".work", *(f"{slide_id}.zarr" for slide_id in stores)})
        self._only(SEALS, {seal_path(self.out, slide_id).name for slide_id in stores})

    def _only(self, folder: str, expected: set[str]) -> None:
        """Note what lies in a folder and does not belong there."""
        if (self.out / folder).is_dir():
            names = sorted(path.name for path in (self.out / folder).iterdir())
            self.verdict.extra += [f"{folder}/{name}" for name in names if name not in expected]

    def _store(self, label: str, sealed: Mapping[str, str]) -> None:
        if not sealed:
            return  # that the seal is missing or changed is said already
        there = set(files_below(self.out / label))
        for name, digest in sealed.items():
            if name in there:
                self._file(self.out / label / name, f"{label}/{name}", digest)
            else:
                self.verdict.missing.append(f"{label}/{name}")
                self.on_file()
        self.verdict.extra += [f"{label}/{name}" for name in sorted(there - sealed.keys())]

    def slides(self, slides: Mapping[str, Any], paths: Mapping[str, Path]) -> None:
        """Check the slides' own bytes."""
        for slide_id, one in slides.items():
            label = str(paths[slide_id]) if one.get("path") else slide_id
            if one["sha256"] is None or slide_id not in paths:
                self.verdict.unknown.append(label)
                continue
            self.verdict.slides += 1
            try:
                found = digest_slide(paths[slide_id], self.on_bytes)
            except FileNotFoundError:
                self.verdict.missing.append(label)
                continue
            except OSError:
                found = None
            if found is None or (found.sha256, found.files) != (one["sha256"], one["files"]):
                self.verdict.changed.append(label)

    def _file(self, path: Path, label: str, digest: str) -> None:
        """Check one file; a link is not what a run wrote, wherever it leads."""
        self.on_file()
        self.verdict.files += 1
        try:
            right = not path.is_symlink() and file_sha256(path) == digest
        except FileNotFoundError:
            self.verdict.missing.append(label)
            return
        except OSError:
            right = False  # a disk that gives an error for a byte does not hold it
        if not right:
            self.verdict.changed.append(label)
