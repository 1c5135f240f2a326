"""A model of one's own travels as bytes."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import pytest

from pbsbatch import models
from pbsbatch.errors import ModelError
from pbsbatch.models.carry import packed, unpack
from pbsbatch.models.load import SHIPPED


def test_a_folder_arrives_as_it_was_though_it_is_gone_at_home(tmp_path: Path) -> None:
    home = tmp_path / "mine"
    shutil.copytree(SHIPPED / "smear", home)
    digest = models.load(str(home)).spec.digest
    travelling = pickle.dumps(packed(str(home)))
    shutil.rmtree(home)
    there = unpack(pickle.loads(travelling), tmp_path / "worker", digest)
    assert models.load(str(there)).spec.digest == digest


@pytest.mark.parametrize("name", ["smear", "classical", "no-such-folder"])
def test_what_every_installation_has_stays_where_it_is(name: str) -> None:
    assert packed(name) is None


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "a/b", "..", ""])
def test_nothing_is_written_outside_the_new_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(ModelError, match="cannot be called"):
        unpack({name: b"x"}, tmp_path / "there", "0" * 64)
    assert [p.name for p in tmp_path.rglob("*")] == ["there", f"model-{'0' * 16}"]
