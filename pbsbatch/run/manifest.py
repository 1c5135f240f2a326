"""OUT/manifest.json: what a run left behind, so that anyone can see later that nothing has changed.

`files` holds the sha256 of each table and log, `pages` that of each slide's page of the report. `stores` holds for
each slide the sha256 of its seal, which lists every file of its store (store/seal.py): ten thousand slides make a
manifest of a few MB, and `verify` still names the file that changed. `slides` holds the sha256 of the slides' own
bytes (run/slide_digest.py), null where it is not known yet.

Law: it is taken away when a run begins and written last, so that where it is, results are at rest.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pbsbatch import __version__
from pbsbatch.disk import file_sha256, output_errors, write_atomic
from pbsbatch.ledger import LEDGER
from pbsbatch.run.events import SlideResult
from pbsbatch.run.output import OUR_FILES, PAGES
from pbsbatch.run.slide_digest import SlideDigest
from pbsbatch.store.seal import read_seal, seal_path

__all__ = ["FILE", "FORMAT", "remove", "renew", "write"]

FILE = "manifest.json"
FORMAT = 1
REPORT = "report.html"


def remove(out: Path) -> None:
    """Take the manifest away: from now on results change."""
    with output_errors(out):
        (out / FILE).unlink(missing_ok=True)


def write(
    out: Path, results: Iterable[SlideResult], known: Mapping[str, SlideDigest], *, with_paths: bool
) -> dict[str, Any]:
    """Write the manifest of a run that has ended, and return it."""
    slides = {result.slide_id: _slide(result, known.get(result.slide_id), with_paths) for result in results}
    with output_errors(out):
        facts = {
            "format": FORMAT, "pbsbatch": __version__, "written_utc": datetime.now(UTC).isoformat(timespec="seconds"),
            "files": {name: _file(out / name) for name in sorted((*OUR_FILES, LEDGER)) if _counts(out / name)},
            "pages": _pages(out),
            "stores": {path.stem: _store(out, path.stem) for path in sorted((out / "slides").glob("*.zarr"))},
            "slides": slides,
        }  # fmt: skip
        write_atomic(out / FILE, [(json.dumps(facts, indent=1) + "\n").encode()])
    return facts


def renew(out: Path) -> None:
    """Take note of a report or a ledger that was written after the run; nothing else of the manifest changes."""
    path = out / FILE
    try:
        facts = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return  # the next run writes one
    with output_errors(out):
        facts["files"] |= {name: _file(out / name) for name in (REPORT, LEDGER) if _counts(out / name)}
        facts["pages"] = _pages(out)
        write_atomic(path, [(json.dumps(facts, indent=1) + "\n").encode()])


def _pages(out: Path) -> dict[str, Any]:
    return {path.name: _file(path) for path in sorted((out / PAGES).glob("*")) if _counts(path)}


def _counts(path: Path) -> bool:
    return path.name != FILE and not path.name.startswith(".tmp-") and path.is_file() and not path.is_symlink()


def _file(path: Path) -> dict[str, Any]:
    return {"bytes": path.stat().st_size, "sha256": file_sha256(path)}


def _store(out: Path, slide_id: str) -> dict[str, Any]:
    """Return what is known of a store; null where an earlier version left it without a seal."""
    path = seal_path(out, slide_id)
    files = len(read_seal(path))
    return {"files": files or None, "sha256": file_sha256(path) if files else None}


def _slide(result: SlideResult, known: SlideDigest | None, with_paths: bool) -> dict[str, Any]:
    where = {"path": str(result.path)} if with_paths else {}
    if known is None:
        return where | {"files": None, "bytes": None, "sha256": None}
    return where | {"files": known.files, "bytes": known.bytes, "sha256": known.sha256}
