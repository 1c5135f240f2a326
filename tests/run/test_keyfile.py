"""The key of de-identified runs: made once, kept from others, and the table that leads back."""

from __future__ import annotations

import csv
import os
import stat
from pathlib import Path

import pytest

from pbsbatch.errors import UsageError
from pbsbatch.run.keyfile import Known, default_key_file, load_key, names_file, read_names, record_names


def test_a_key_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "k.key"
    first = load_key(path, tmp_path / "out", create=True)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(first.secret) == 64
    assert load_key(path, tmp_path / "out", create=True).secret == first.secret
    assert [p.name for p in path.parent.iterdir()] == ["k.key"]
    assert first.secret.decode() not in repr(first)


def test_hashes_depend_on_key_kind_and_text(tmp_path: Path) -> None:
    one, two = (load_key(tmp_path / name, tmp_path / "out", create=True) for name in ("1", "2"))
    hashes = {key.hashed(kind, text) for key in (one, two) for kind in ("slide", "sample") for text in ("a", "b")}
    assert len(hashes) == 8
    assert one.fingerprint != two.fingerprint
    assert one.hashed("slide", os.fsdecode(b"\xff.tif")) == one.hashed("slide", "\udcff.tif")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o622, 0o777])
def test_a_key_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    load_key(tmp_path / "key", tmp_path / "out", create=True)
    (tmp_path / "key").chmod(mode)
    with pytest.raises(UsageError, match=rf"mode {mode:04o}.*chmod 600"):
        load_key(tmp_path / "key", tmp_path / "out", create=True)


def test_a_key_inside_the_results_is_refused_also_through_a_link(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (tmp_path / "link").symlink_to(out)
    for path in (out / "key", tmp_path / "link" / "key", out / ".." / "out" / "deep" / "key"):
        with pytest.raises(UsageError, match="must not lie inside the results"):
            load_key(path, out, create=True)
    assert list(out.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"short\n", b" " * 64])
def test_a_key_that_is_none_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "key").write_bytes(content)
    (tmp_path / "key").chmod(0o600)
    with pytest.raises(UsageError, match="less than 32"):
        load_key(tmp_path / "key", tmp_path / "out", create=True)


def test_a_key_that_is_gone_is_not_made_anew(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no key is there.*--key-file"):
        load_key(tmp_path / "key", tmp_path / "out", create=False)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UsageError, match="cannot be kept there"):
        load_key(Path("/dev/null/key"), tmp_path / "out", create=True)


def test_the_default_lies_in_the_users_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert default_key_file() == tmp_path / "pbsbatch" / "deidentify.key"
    monkeypatch.setenv("XDG_CONFIG_HOME", "relative")
    monkeypatch.setenv("HOME", "/home/x")
    assert default_key_file() == Path("/home/x/.config/pbsbatch/deidentify.key")


def test_the_table_leads_back_grows_and_is_its_owners_alone(tmp_path: Path) -> None:
    key = load_key(tmp_path / "key", tmp_path / "out", create=True)
    odd = "/archive/" + os.fsdecode(b'\xffnew\nline, "quoted"\r.tif')
    first = [Known("slide-1", "slide", odd, "=cmd()", "/out"), Known("sample-1", "sample", "@Smith", "", "/out")]
    record_names(key, first)
    assert stat.S_IMODE(names_file(key.path).stat().st_mode) == 0o600
    before = names_file(key.path).read_bytes()
    record_names(key, first)
    assert names_file(key.path).read_bytes() == before
    record_names(key, [Known("slide-2", "slide", "/archive/b.tif", "b.tif", "/other")])
    table = {row.id: row for row in read_names(key.path)}
    assert table["slide-1"].original == odd
    assert table["slide-1"].name == "'=cmd()"
    assert table["sample-1"].original == "'@Smith"
    assert table["slide-2"].results == "/other"
    with names_file(key.path).open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        assert next(csv.reader(file)) == ["id", "kind", "original", "name", "results"]


def test_no_table_is_no_names(tmp_path: Path) -> None:
    assert read_names(tmp_path / "key") == ()
