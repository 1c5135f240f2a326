from pathlib import Path

from pbsbatch.store import Store, StoreHeader
from pbsbatch.testing.stores import StoreTests


class TestStore(StoreTests):
    def begin(self, out: Path, header: StoreHeader, key: str) -> Store:
        return Store.begin(out, header, key)
