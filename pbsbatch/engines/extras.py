"""What of the optional packages is here, and how one is loaded.

Law: a package that is missing or does not load is an EngineError with its cure, so that "auto" can go on to the next.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from pbsbatch.errors import EngineError, one_line

__all__ = ["installed", "loading", "need"]


def installed(*packages: str) -> bool:
    """Say whether all of these are installed; none is loaded."""
    return all(find_spec(package) is not None for package in packages)


def need(extra: str, *packages: str) -> None:
    """Refuse to go on without these packages of an extra."""
    missing = [package for package in packages if find_spec(package) is None]
    if missing:
        raise EngineError(f"{' and '.join(missing)} not installed", cure=f"Run: pip install 'pbsbatch[{extra}]'")


@contextmanager
def loading(package: str) -> Iterator[None]:
    """Import what needs a package: one that is installed and does not load is said plainly."""
    try:
        yield
    except (ImportError, OSError) as error:
        raise EngineError(
            f"{package} is installed but cannot be loaded: {one_line(error)[:300]}", cure=f"Install {package} again"
        ) from error
