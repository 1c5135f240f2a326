"""Compiled plans on disk: found by a key that holds all that decides them.

Laws. A plan is stored whole, under a lock, in a private folder, beside meta.json with its digest and the stamp of its
parity gate; without a stamp it is not run. Bytes that are not those of the digest, and plans that the library does not
take back, are put aside and never tried again: the plan is built anew, once.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from pbsbatch.disk import output_errors, unique, write_atomic
from pbsbatch.errors import EngineError
from pbsbatch_kernels.jit import locked

__all__ = ["Kept", "PlanCache", "key_of"]

T = TypeVar("T")
PLAN, META, TIMES, ASIDE = "plan", "meta.json", "times", ".aside"
KEPT_ASIDE = 3


def key_of(facts: Mapping[str, Any]) -> str:
    """Return the key of a plan: a digest of every fact."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Kept:
    """A plan that is on disk and whole."""

    key: str
    facts: Mapping[str, Any]
    plan: bytes
    stamp: Mapping[str, Any] | None  # of the parity gate


@dataclass(frozen=True, slots=True)
class PlanCache:
    """A folder of plans."""

    root: Path

    def get(self, key: str) -> Kept | None:
        """Return a plan, None where there is none; a damaged one is put aside."""
        folder = self.root / key
        if not (folder / META).exists():
            return None
        try:
            told = json.loads((folder / META).read_bytes())
            plan = (folder / PLAN).read_bytes()
            if hashlib.sha256(plan).hexdigest() == told["plan_sha256"] and key_of(told["facts"]) == key:
                return Kept(key, told["facts"], plan, told["stamp"])
        except (OSError, ValueError, KeyError, TypeError):
            pass  # as with a wrong digest: what stands there is no plan of ours
        self.put_aside(key)
        return None

    def find(self, wanted: Mapping[str, Any]) -> list[Kept]:
        """Return the whole plans that have these facts among theirs, the newest first."""
        folders = [p for p in self.root.iterdir() if (p / META).exists() and not p.name.endswith(ASIDE)]
        folders.sort(key=lambda p: (p / META).stat().st_mtime, reverse=True)
        kept = (self.get(p.name) for p in folders if wanted.items() <= _facts(p / META).items())
        return [one for one in kept if one is not None]

    def put(self, facts: Mapping[str, Any], plan: bytes, stamp: Mapping[str, Any] | None = None) -> Kept:
        """Store a plan: the plan first, then what makes it count."""
        kept = Kept(key_of(facts), dict(facts), plan, stamp)
        with output_errors(self.root):
            folder = self.root / kept.key
            folder.mkdir(mode=0o700, exist_ok=True)
            (folder / META).unlink(missing_ok=True)
            write_atomic(folder / PLAN, [plan], sync=True)
            self._write_meta(kept)
        return kept

    def admit(self, kept: Kept, stamp: Mapping[str, Any]) -> Kept:
        """Add the stamp of the parity gate."""
        stamped = replace(kept, stamp=stamp)
        with output_errors(self.root):
            self._write_meta(stamped)
        return stamped

    def put_aside(self, key: str) -> None:
        """Take a plan out of use but keep it for whoever wants to know why, the last few of them."""
        folder = self.root / key
        if folder.exists():
            folder.rename(self.root / (unique(key) + ASIDE))
        aside = sorted((p for p in self.root.iterdir() if p.name.endswith(ASIDE)), key=lambda p: p.stat().st_mtime)
        for old in aside[:-KEPT_ASIDE]:
            shutil.rmtree(old, ignore_errors=True)

    def open(
        self, facts: Mapping[str, Any], make: Callable[[], bytes], take: Callable[[bytes], T | None],
        why: Callable[[], str] = lambda: "no reason was given",
    ) -> tuple[Kept, T, bool]:  # fmt: skip
        """Return a plan, what the library made of it, and whether it was built now. One process builds at a time.

        take returns None for a plan that the library does not take back: it is put aside and built anew, once; `why`
        tells the library's reason.
        """
        key = key_of(facts)
        with locked(self.root / f"{key}.lock"):
            kept = self.get(key)
            if kept is not None:
                taken = take(kept.plan)
                if taken is not None:
                    return kept, taken, False
                self.put_aside(key)
            kept = self.put(facts, make())
            taken = take(kept.plan)
            if taken is None:
                self.put_aside(key)
                raise EngineError(f"a plan that was just built cannot be loaded: {why()}", path=self.root / key)
            return kept, taken, True

    def times(self, facts: Mapping[str, Any]) -> bytes:
        """Return what earlier builds with these facts measured."""
        try:
            return (self.root / f"{key_of(facts)}.{TIMES}").read_bytes()
        except OSError:
            return b""

    def keep_times(self, facts: Mapping[str, Any], times: bytes) -> None:
        """Keep what a build measured."""
        with output_errors(self.root):
            write_atomic(self.root / f"{key_of(facts)}.{TIMES}", [times], sync=True)

    def _write_meta(self, kept: Kept) -> None:
        told = {"facts": kept.facts, "plan_sha256": hashlib.sha256(kept.plan).hexdigest(), "stamp": kept.stamp}
        write_atomic(self.root / kept.key / META, [json.dumps(told, indent=1).encode()], sync=True)


def _facts(path: Path) -> Mapping[str, Any]:
    """Return the facts of a plan's meta.json, none where it cannot be read."""
    try:
        facts = json.loads(path.read_bytes())["facts"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return facts if isinstance(facts, dict) else {}
