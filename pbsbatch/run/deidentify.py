"""Take names out of a run before anything is written: keyed hashes for slides and samples, scrubbed messages.

Law: what a run writes is made of ids, numbers and the program's own words. Known names (of slides, their
folders, samples and inputs) are replaced wherever they stand and however they are escaped; of what nobody
knows beforehand, whatever looks like a path or stands in quotes is left out, and of an unexpected error
its kind and the lines of code alone are kept.
"""

from __future__ import annotations

import json
import os
import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from urllib.parse import quote

from pbsbatch.errors import one_line
from pbsbatch.run.discovery import Discovery, Skipped
from pbsbatch.run.events import (
    EngineSaid,
    Event,
    ReadInPlace,
    RunFinished,
    RunStarted,
    SlideFinished,
    SlideResult,
    SlidesChanged,
    WorkerDied,
)
from pbsbatch.run.keyfile import Key, Known, record_names
from pbsbatch.slides.base import SlideRef

__all__ = ["Open", "Scrubber", "deidentified", "frames_only", "hidden"]

HIDDEN = "[hidden]"
ITS_ID, OTHER = "\0", "\1"
PATH = re.compile(r"""(?<![^\s'"])(?!\(?pbsbatch(?:_kernels)?/[\w/]+\.py:\d+\)?(?:[\s.,;]|$))[^\s'"]*[/\\][^\s'"]*""")
"""Anything with a slash in it, but for a place in this program's own code."""
QUOTED = re.compile(r"""(?<!\w)b?(['"])(?:.*\1|.*)""")
FRAME = re.compile(r'^\s*File "(?:.*[/\\])?([^/\\"]+)", line (\d+), in (\S+)', re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Scrubber:
    """What replaces names in text: those of one slide by its id, those of places by HIDDEN."""

    places: tuple[str, ...]
    by_slide: dict[str, tuple[str, ...]]

    def text(self, text: str, slide_id: str | None = None, names: tuple[str, ...] = ()) -> str:
        """Return text without names, the given ones too; the id stands where its slide's name stood."""
        # marks of one character first: a folder called "slide" must not be found again in an id just put in
        text = _replaced(text, (*self.by_slide.get(slide_id or "", ()), *names), ITS_ID)
        text = QUOTED.sub(OTHER, PATH.sub(OTHER, _replaced(text, self.places, OTHER)))
        return text.replace(ITS_ID, slide_id or HIDDEN).replace(OTHER, HIDDEN)

    def listening(self, on_event: Callable[[Event], None]) -> Callable[[Event], None]:
        """Return a listener that passes every event on without names."""
        return lambda event: on_event(self.event(event))

    def event(self, event: Event) -> Event:
        """Return an event without names."""
        match event:
            case RunStarted():
                return replace(event, notes=tuple(map(self.text, event.notes)))
            case SlideFinished():
                return SlideFinished(self.result(event.result))
            case SlidesChanged() | WorkerDied() | ReadInPlace():
                return replace(event, why=self.text(event.why))
            case EngineSaid():
                return replace(event, text=self.text(event.text))
            case RunFinished():
                return self.finished(event)
            case _:
                return event

    def finished(self, finished: RunFinished) -> RunFinished:
        """Return how a run ended, without names."""
        stopped = None if finished.stopped is None else self.text(finished.stopped)
        return replace(finished, results=tuple(map(self.result, finished.results)), stopped=stopped)

    def result(self, result: SlideResult) -> SlideResult:
        """Return a slide's result whose error, details and failed tiles hold no name."""
        error, details = result.error, result.details
        if details is not None:  # nobody foresaw this error: what it says may be anything
            error, details = f"{(error or '').partition(':')[0]} (run.log has the details)", frames_only(details)
        return replace(
            result,
            error=None if error is None else self.text(error, result.slide_id),
            details=details,
            changed=None if result.changed is None else self.text(result.changed, result.slide_id),
            failed_tiles=tuple((tile, self.text(text, result.slide_id)) for tile, text in result.failed_tiles),
        )


class Open:
    """What stands in a Scrubber's place where nothing is hidden."""

    def listening(self, on_event: Callable[[Event], None]) -> Callable[[Event], None]:
        """Return the listener as it is."""
        return on_event

    def finished(self, finished: RunFinished) -> RunFinished:
        """Return how a run ended, as it is."""
        return finished


def hidden(found: Discovery, key: Key | None, inputs: Sequence[Path], out: Path) -> tuple[Discovery, Scrubber | Open]:
    """Return what a run works on and what its events pass through; ids under a key are recorded beside it."""
    if key is None:
        return found, Open()
    found, scrubber, known = deidentified(found, key, inputs, out)
    record_names(key, known)
    return found, scrubber


def frames_only(details: str) -> str:
    """Return a traceback as file names of code, lines and functions: its messages may quote anything."""
    return "\n".join(f"  {file}:{line} in {function}" for file, line, function in FRAME.findall(details))


def deidentified(
    found: Discovery, key: Key, inputs: Sequence[Path], out: Path
) -> tuple[Discovery, Scrubber, tuple[Known, ...]]:
    """Return what was found under keyed ids, what scrubs messages, and what the ids stand for."""
    ids = _ids(found, key)
    scrubber = Scrubber(
        places=(str(out), *_places(found, inputs)),
        by_slide={ids[ref.id]: _names(ref, found.relative[ref.id]) for ref in found.slides},
    )
    refs, known = [], []
    for ref in found.slides:
        new = ids[ref.id]
        sample = new if ref.sample == ref.id else _short("sample", key, ref.sample)
        refs.append(replace(ref, id=new, name=new, sample=sample))
        known.append(Known(new, "slide", str(ref.path), ref.name, str(out)))
        if sample != new:
            known.append(Known(sample, "sample", ref.sample, "", str(out)))
    skipped = []
    for item in found.skipped:
        new = _short("file", key, str(item.path))
        known.append(Known(new, "file", str(item.path), "", str(out)))
        own = (str(item.path), item.path.name, item.path.stem)
        skipped.append(Skipped(Path(new), scrubber.text(item.reason, names=own)))
    warnings = tuple(scrubber.text(text) for text in found.warnings)
    return Discovery(tuple(refs), tuple(skipped), (), warnings), scrubber, tuple(known)


def _ids(found: Discovery, key: Key) -> dict[str, str]:
    """Return each slide's keyed id by its id: a letter first, lest a spreadsheet takes it for a number."""
    ids: dict[str, str] = {}
    taken = set[str]()
    for ref in found.slides:
        digest = key.hashed("slide", found.relative[ref.id])
        ids[ref.id] = next(s for s in (f"slide-{digest[:n]}" for n in (16, 32, 64)) if s not in taken)
        taken.add(ids[ref.id])
    return ids


def _short(what: str, key: Key, text: str) -> str:
    return f"{what}-{key.hashed(what, text)[:16]}"


def _names(ref: SlideRef, relative: str) -> tuple[str, ...]:
    """Return what a message may call a slide."""
    paths = [ref.path, ref.path.resolve()] if ref.path.is_symlink() else [ref.path]
    files = [name for path in paths for name in (str(path), path.name, path.stem)]
    return (*files, relative, ref.name, Path(ref.name).stem, ref.sample, ref.id)


def _places(found: Discovery, inputs: Iterable[Path]) -> list[str]:
    """Return inputs and the folders between them and slides, as paths and by name."""
    places = {path for given in inputs for path in (given, given.resolve())}
    names = {path.name for path in places}
    for ref in found.slides:
        folders = Path(found.relative[ref.id]).parts[:-1]
        names.update(folders)
        places.update(list(ref.path.parents)[: len(folders) + 1])
    return sorted({*map(str, places), *names})


@lru_cache(maxsize=1024)
def _variants(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return every way in which libraries write the names, in lower case, the longest first."""
    found = set[str]()
    for name in names:
        raw = os.fsencode(name)
        lossy = raw.decode("utf-8", "replace")
        for text in (name, lossy, *(unicodedata.normalize(form, lossy) for form in ("NFC", "NFD"))):
            found |= {text, one_line(text), repr(text)[1:-1], ascii(text)[1:-1], json.dumps(text)[1:-1]}
        found |= {repr(raw)[2:-1], quote(raw), quote(raw, safe="")}
    lower = {text.lower() for text in found if len(text) > 1 and text.strip("/.")}
    return tuple(sorted(lower, key=lambda text: (-len(text), text)))


def _replaced(text: str, names: tuple[str, ...], by: str) -> str:
    """Replace names in any case; one of two letters only where it is a word of its own."""
    lower = text.lower()
    for name in _variants(names):
        if name in lower:
            pattern = rf"(?<!\w){re.escape(name)}(?!\w)" if len(name) < 3 else re.escape(name)
            text = re.sub(pattern, lambda _: by, text, flags=re.IGNORECASE)
            lower = text.lower()
    return text
