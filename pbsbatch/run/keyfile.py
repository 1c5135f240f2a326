"""The key of de-identified runs: where it lies, who may read it, and the table that leads back to names.

Law: key and table never lie inside the results, are made for their owner alone, and a key that others
could have read is refused. Without the key nobody can tell which slide an id stands for; without the
table its owner still can, by hashing the names of the slides at hand.
"""

from __future__ import annotations

import csv
import fcntl
import hashlib
import hmac
import io
import os
import secrets
import stat
from collections.abc import Iterable
from dataclasses import astuple, dataclass, field, replace
from pathlib import Path

from pbsbatch.disk import unique, write_atomic
from pbsbatch.errors import UsageError
from pbsbatch.run.csv_text import safe_cell

__all__ = ["Key", "Known", "default_key_file", "load_key", "names_file", "read_names", "record_names"]

LEAST_BYTES, MOST_BYTES = 32, 1 << 16
COLUMNS = ("id", "kind", "original", "name", "results")


@dataclass(frozen=True, slots=True)
class Key:
    """A secret that names are hashed with."""

    path: Path
    secret: bytes = field(repr=False)

    def hashed(self, what: str, text: str) -> str:
        """Return the keyed hash of a text, as 64 hex digits; the same text of another kind has another."""
        message = what.encode() + b"\0" + os.fsencode(text)
        return hmac.new(self.secret, message, hashlib.sha256).hexdigest()

    @property
    def fingerprint(self) -> str:
        """Return what tells keys apart without telling anything of them."""
        return self.hashed("fingerprint", "")[:16]


@dataclass(frozen=True, slots=True, order=True)
class Known:
    """One line of the table: what an id stands for, in which results."""

    id: str
    kind: str  # slide, sample, file or input
    original: str
    name: str
    results: str


def default_key_file() -> Path:
    """Return the key file in the user's own folder of settings."""
    base = os.environ.get("XDG_CONFIG_HOME", "")
    folder = Path(base) if base.startswith("/") else Path.home() / ".config"
    return folder / "pbsbatch" / "deidentify.key"


def load_key(path: Path | None, out: Path, *, create: bool) -> Key:
    """Return the key, made where there is none yet. Raises UsageError where it would not be kept safe."""
    path = (path or default_key_file()).absolute()
    if path.resolve().is_relative_to(out.resolve()):
        raise UsageError("the key must not lie inside the results", path=path, cure="Choose another --key-file")
    try:
        if create and not path.exists():
            _make(path)
        return Key(path, _secret(path))
    except FileNotFoundError as error:
        raise UsageError(
            "no key is there, and these results were made with one", path=path,
            cure="Give the key that they were made with by --key-file, or --fresh to start over",
        ) from error  # fmt: skip
    except OSError as error:
        cure = "Choose another --key-file"
        raise UsageError(f"the key cannot be kept there ({error.strerror})", path=path, cure=cure) from error


def _make(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_name(unique(f".{path.name}"))
    write_atomic(temporary, (secrets.token_hex(32).encode() + b"\n",), private=True)
    try:
        os.link(temporary, path)  # unlike a rename it never replaces a key that another run made meanwhile
    except FileExistsError:
        pass
    finally:
        temporary.unlink()


def _secret(path: Path) -> bytes:
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise UsageError("the key is no plain file", path=path, cure="Choose another --key-file")
        if status.st_mode & 0o077:
            what = f"others than its owner may read or write the key (mode {stat.S_IMODE(status.st_mode):04o})"
            raise UsageError(what, path=path, cure="If nobody did, chmod 600 it; else choose another --key-file")
        secret = file.read(MOST_BYTES).strip()
    if len(secret) < LEAST_BYTES:
        what = f"the key has {len(secret)} bytes, less than {LEAST_BYTES}"
        raise UsageError(what, path=path, cure="Remove it, and a run makes one, or choose another --key-file")
    return secret


def names_file(key: Path) -> Path:
    """Return the table beside a key."""
    return key.with_name(f"{key.name}.names.csv")


def record_names(key: Key, known: Iterable[Known]) -> None:
    """Add lines to the table, which is kept for all results made with the key."""
    path = names_file(key.path)
    try:
        with key.path.open("r+b") as lock:
            fcntl.lockf(lock, fcntl.LOCK_EX)
            before = read_names(key.path)
            after = set(before) | {_written(row) for row in known}
            if len(after) > len(before):
                write_atomic(path, (_table(sorted(after)),), private=True)
    except OSError as error:
        what = f"the names behind the ids cannot be kept there ({error.strerror})"
        raise UsageError(what, path=path, cure="Choose another --key-file") from error


def read_names(key: Path) -> tuple[Known, ...]:
    """Return the lines of the table beside a key; none where there is no table."""
    try:
        text = os.fsdecode(names_file(key).read_bytes())
    except FileNotFoundError:
        return ()
    rows = list(csv.reader(io.StringIO(text, newline="")))
    return tuple(Known(*row) for row in rows[1:] if len(row) == len(COLUMNS))


def _written(row: Known) -> Known:
    """Return a line as it is written: a path is kept to the byte, for `verify` opens it; other text is made safe."""
    original = row.original if row.original.startswith("/") else safe_cell(row.original)
    return replace(row, original=original, name=safe_cell(row.name))


def _table(rows: Iterable[Known]) -> bytes:
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n", quoting=csv.QUOTE_ALL)
    writer.writerow(COLUMNS)
    writer.writerows(astuple(row) for row in rows)
    return os.fsencode(out.getvalue())
