"""Vocabulary: what numbers of classes mean while data sets are read one after the other.

Laws. The first three are CLASSES; a word of a data set's own is given the next number where such words are allowed. A
number never changes its meaning, so that an earlier sample's names are the beginning of a later one's.
"""

from __future__ import annotations

from collections.abc import Mapping

from pbsbatch.datasets.readers.problems import RecordError
from pbsbatch.datasets.samples import CLASSES
from pbsbatch.models.words import class_of_word, counted_as, plain

__all__ = ["Vocabulary"]

MOST_WORDS, MOST_LETTERS = 250, 200


class Vocabulary:
    """The names of classes by number. count_as: what words are counted as whose names do not tell it."""

    def __init__(self, *, own: bool = False, count_as: Mapping[str, str] | None = None) -> None:
        self.own = own
        self.names: tuple[str, ...] = CLASSES
        self.likes: tuple[int, ...] = tuple(range(len(CLASSES)))
        self._count_as = {plain(word): counted for word, counted in (count_as or {}).items()}
        self._numbers: dict[str, int] = {}

    def number(self, word: str, record: str = "") -> int:
        """Return the number of a class by a data set's word for it."""
        known = class_of_word(word)
        if known in CLASSES:
            return CLASSES.index(known)
        if not self.own:
            raise RecordError(f"unknown class {word!r}", f"Rename it to one of {', '.join(CLASSES)}", record)
        said = plain(word)
        if said not in self._numbers:
            self._numbers[said] = self._new(word, said, record)
        return self._numbers[said]

    def _new(self, word: str, said: str, record: str) -> int:
        if not said or len(said) > MOST_LETTERS or not word.isprintable():
            raise RecordError(f"{word[:80]!r} is no name of a class", "Give it a name", record)
        if len(self.names) >= MOST_WORDS:
            raise RecordError(f"more than {MOST_WORDS} classes", "Check that these are names of classes", record)
        counted = self._count_as.get(said) or counted_as(word)
        self.names += (word.strip(),)
        self.likes += (CLASSES.index(counted) if counted in CLASSES else -1,)
        return len(self.names) - 1
