"""Publish several small slides together: one sync makes all their stores safe, then they appear one by one.

A small store has thirty files, and a sync costs the same for one as for many: alone, it took longer than the files.

Law: the store's laws hold for each of them. Nothing is visible before the sync has ended; a process that is killed at
any moment leaves each slide published wholly or not at all, and what it had built is built again.
"""

from __future__ import annotations

from contextlib import ExitStack, nullcontext, suppress
from pathlib import Path
from types import TracebackType

from pbsbatch.disk import output_errors, remove_tree, sync_files
from pbsbatch.errors import StoreError
from pbsbatch.store.attempt import attempt, shared_place
from pbsbatch.store.protocol import Fence, Store
from pbsbatch.store.records import Measure, Preview

__all__ = ["Together"]


class Together:
    """Stores that wait to be published; used by one thread at a time. Left early, it publishes nothing more."""

    def __init__(self, out: Path, fence: Fence | None = None) -> None:
        self._out, self._fence = out, fence
        self._attempt = ExitStack()
        self._folder: Path | None = None
        self._waiting: list[tuple[Store, Path | None]] = []

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, store: Store, preview: Preview, measure: Measure | None = None) -> None:
        """Build a store. Raises StoreError where its strips are missing, OutputError where the disk takes no more;
        those that wait already are not touched by that.
        """
        with output_errors(store.path):
            if self._folder is None:
                self._folder = self._attempt.enter_context(attempt(shared_place(self._out)))
            with ExitStack() as undo:
                undo.callback(remove_tree, self._folder / store.path.name)  # the others may want its room
                self._waiting.append((store, store.build(self._folder, preview, measure=measure)))
                undo.pop_all()

    def publish(self) -> dict[str, StoreError]:
        """Make all that wait safe, then visible. Return why some are not, by slide. Raises OutputError."""
        waiting, failed = self._waiting, dict[str, StoreError]()
        if self._folder is not None:
            with output_errors(self._folder):
                sync_files(self._folder)
                # one fence for all: it is there for as long as it takes to rename some folders
                with nullcontext() if self._fence is None else self._fence():
                    for store, built in waiting:
                        try:
                            if built is not None:
                                store.publish(built)
                        except StoreError as error:
                            failed[store.header.slide_id] = error
                for store, _ in waiting:
                    if store.header.slide_id not in failed:
                        store.clean(self._out, store.header.slide_id)
        self.close()
        return failed

    def close(self) -> None:
        """Take away what was built and is not published."""
        self._waiting, self._folder = [], None
        self._attempt.close()
        place = shared_place(self._out)
        with suppress(OSError):  # others are working there, or nothing was built
            place.rmdir()
            place.parent.rmdir()

    def __enter__(self) -> Together:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()
