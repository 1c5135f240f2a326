"""What engines keep stands where its user alone can write."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from pbsbatch.engines.keep import FOLDER, keep_folder
from pbsbatch.errors import EngineError


def test_the_folder_is_private_and_below_what_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FOLDER, str(tmp_path / "mine"))
    folder = keep_folder("plans")
    assert folder == tmp_path / "mine" / "plans"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert keep_folder("plans") == folder


def test_a_folder_that_others_can_write_to_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FOLDER, str(tmp_path / "mine"))
    keep_folder("plans").chmod(0o777)
    with pytest.raises(EngineError, match=rf"others can write in.*plans.*{FOLDER}"):
        keep_folder("plans")


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv(FOLDER, str(tmp_path / "file"))
    with pytest.raises(EngineError, match=r"no folder to keep compiled engines in: .*file"):
        keep_folder("plans")


def test_without_a_home_it_is_the_systems_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(FOLDER, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert keep_folder("gates") == tmp_path / "cache" / "pbsbatch" / "gates"
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path / "tmp"))
    assert keep_folder("gates") == tmp_path / "tmp" / f"pbsbatch-{os.geteuid()}" / "gates"
