"""Where engines keep what this machine learnt: compiled plans and the stamps of parity gates.

Laws. Nobody but its user and root can write there, because a plan is code that will run. A file is there wholly or not
at all, and survives a power cut (disk.write_atomic, synced).
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from pbsbatch.errors import EngineError
from pbsbatch_kernels.jit import only_ours

__all__ = ["FOLDER", "keep_folder"]

FOLDER = "PBSBATCH_CACHE"
"""Environment variable that names the folder to keep things in."""


def keep_folder(name: str) -> Path:
    """Return a private folder of that name: in what FOLDER names, the user's cache, or the system's temporary folder.

    A folder that the environment names is taken or refused, never passed over.
    """
    reason = "there is no home folder"
    for root in _roots():
        path = root / name
        try:
            for missing in [f for f in (*reversed(path.parents), path) if not f.exists()]:
                missing.mkdir(mode=0o700, exist_ok=True)
            with tempfile.TemporaryFile(dir=path):
                pass
        except OSError as error:
            reason = f"{path}: {error.strerror}"
            continue
        if only_ours(path.resolve()):
            return path.resolve()
        reason = f"others can write in {path} or swap it for another"
    raise EngineError(
        f"no folder to keep compiled engines in: {reason}",
        cure=f"Name one that only you can write to in the environment variable {FOLDER}",
    )


def _roots() -> Iterator[Path]:
    named, base = os.environ.get(FOLDER), Path(os.environ.get("XDG_CACHE_HOME", ""))
    if named:
        yield Path(named).absolute()
        return
    home = Path(os.path.expanduser("~"))  # noqa: PTH111  # Path.home() raises where there is none
    if not base.is_absolute():
        base = home / ".cache"
    if base.is_absolute():
        yield base / "pbsbatch"
    with suppress(FileNotFoundError):
        yield Path(tempfile.gettempdir()) / f"pbsbatch-{os.geteuid()}"
