"""The digests of slides: what sha256sum says, and a ledger that crashes do not spoil."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pbsbatch.run import slide_digest
from pbsbatch.run.digester import Digester
from pbsbatch.run.slide_digest import Ledger, SlideDigest, digest_slide, hint_of
from pbsbatch.slides.files import slide_files


def sha256sum(*arguments: str, cwd: Path, text: bytes | None = None) -> bytes:
    return subprocess.run(["sha256sum", *arguments], cwd=cwd, input=text, capture_output=True, check=True).stdout


@pytest.fixture
def mrxs(tmp_path: Path) -> Path:
    (tmp_path / "a").mkdir()
    for name, size in (("a.mrxs", 10), ("a/Slidedat.ini", 3), ("a/Data 1.dat", 2_500_000)):
        (tmp_path / name).write_bytes(os.urandom(size))
    return tmp_path / "a.mrxs"


def test_one_file_has_the_digest_of_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "a.svs").write_bytes(os.urandom(3_000_001))
    heard: list[int] = []
    found = digest_slide(tmp_path / "a.svs", heard.append)
    assert found is not None
    assert found.sha256 == sha256sum("a.svs", cwd=tmp_path).split()[0].decode()
    assert (found.files, found.bytes) == (1, 3_000_001)
    assert sum(heard) == 3_000_001


def test_several_files_have_the_digest_of_their_list(mrxs: Path) -> None:
    found = digest_slide(mrxs)
    assert found is not None
    listed = sha256sum("a/Data 1.dat", "a/Slidedat.ini", "a.mrxs", cwd=mrxs.parent)
    assert found.sha256 == sha256sum("-", cwd=mrxs.parent, text=listed).split()[0].decode()
    assert (found.files, found.bytes) == (3, 2_500_013)


def test_a_slide_that_changes_while_it_is_read_has_none(mrxs: Path) -> None:
    assert digest_slide(mrxs, lambda _: mrxs.write_bytes(os.urandom(11))) is None


def test_the_hint_changes_with_the_files_and_holds_no_name(mrxs: Path) -> None:
    before = hint_of(slide_files(mrxs))
    mrxs.rename(mrxs.with_name("b.mrxs"))
    mrxs.with_name("b.mrxs").rename(mrxs)
    assert hint_of(slide_files(mrxs)) == before
    (mrxs.parent / "a" / "Slidedat.ini").write_bytes(b"abcd")
    assert hint_of(slide_files(mrxs)) != before


def test_the_ledger_keeps_the_latest_and_passes_over_torn_lines(tmp_path: Path) -> None:
    path = tmp_path / "digests.jsonl"
    one, two = SlideDigest("1" * 64, 1, 10, "h1"), SlideDigest("2" * 64, 1, 11, "h2")
    Ledger(path, SlideDigest).note("a", one)
    Ledger(path, SlideDigest).note("a", two)
    Ledger(path, SlideDigest).note("b", one)
    size = path.stat().st_size
    Ledger(path, SlideDigest).note("b", one)
    assert path.stat().st_size == size
    assert Ledger(path, SlideDigest).known == {"a": two, "b": one}
    with path.open("ab") as file:
        file.write(b'{"slide": "c", "sha2')  # a crash
    Ledger(path, SlideDigest).note("d", two)
    assert Ledger(path, SlideDigest).known == {"a": two, "b": one, "d": two}
    path.write_bytes(b"[]\n{}\n\xff\n3\n" + path.read_bytes())
    assert Ledger(path, SlideDigest).known == {"a": two, "b": one, "d": two}


def test_the_process_digests_what_it_is_asked_for(mrxs: Path, tmp_path: Path) -> None:
    digester = Digester()
    try:
        digester.ask("a", mrxs, None)
        digester.ask("gone", tmp_path / "gone.svs", None)
        digester.ask("a", mrxs, "another hint")
        digester.ask("a", mrxs, hint_of(slide_files(mrxs)))
        answers = digester.answers(60)
        assert digester.pid is not None
        assert os.getpriority(os.PRIO_PROCESS, digester.pid) == 19
        assert digester.waiting == 0
    finally:
        digester.close()
    assert answers[0] == ("a", digest_slide(mrxs))
    assert answers[1] == ("gone", None)
    assert answers[2] == answers[0]
    assert answers[3] == ("a", hint_of(slide_files(mrxs)))


def test_the_ledger_does_not_grow_without_end_however_often_slides_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slide_digest, "SPARE", 4)
    path = tmp_path / "ledger.jsonl"
    for number in range(40):  # each run finds both slides changed
        ledger = Ledger(path, SlideDigest)
        for name in "ab":
            ledger.note(name, SlideDigest(f"{name}{number}", 1, 1, ""))
            assert len(path.read_bytes().splitlines()) <= 2 * 2 + 4
        assert {name: one.sha256 for name, one in Ledger(path, SlideDigest).known.items()} == ledger_of(number)
        if number % 3 == 0:
            with path.open("ab") as file:
                file.write(b'{"slide": "a", "sha')  # a crash
    assert list(tmp_path.iterdir()) == [path]


def ledger_of(number: int) -> dict[str, str]:
    return {name: f"{name}{number}" for name in "ab"}


def test_a_process_that_died_leaves_digests_unknown(mrxs: Path) -> None:
    digester = Digester()
    digester._process.kill()
    digester._process.join()
    for _ in range(3):
        digester.ask("a", mrxs, None)
        assert digester.answers(5) == []
    assert digester.waiting == 0
    digester.close()


def test_asking_never_waits_for_a_process_that_does_not_listen(mrxs: Path) -> None:
    digester = Digester()
    assert digester.pid is not None
    try:
        os.kill(digester.pid, signal.SIGSTOP)
        for number in range(20_000):  # far more than a pipe holds
            digester.ask(f"{number}", mrxs, None)
            digester.answers()
        assert digester.waiting == 20_000
    finally:
        os.kill(digester.pid, signal.SIGKILL)
        digester.close()


@pytest.mark.fault
def test_the_process_ends_with_its_driver_however_that_dies(tmp_path: Path) -> None:
    with (tmp_path / "huge.svs").open("wb") as file:
        file.truncate(1 << 40)  # takes hours to read, and no room
    program = (
        "import sys, time\nfrom pathlib import Path\nfrom pbsbatch.run.digester import Digester\n"
        "if __name__ == '__main__':\n    digester = Digester()\n    digester.ask('a', Path(sys.argv[1]), None)\n"
        "    digester.answers()\n    print(digester.pid, flush=True)\n    time.sleep(600)\n"
    )
    (tmp_path / "driver.py").write_text(program)
    driver = subprocess.Popen(
        [sys.executable, str(tmp_path / "driver.py"), str(tmp_path / "huge.svs")], stdout=subprocess.PIPE, text=True
    )
    with driver:
        assert driver.stdout is not None
        child = int(driver.stdout.readline())
        driver.kill()
    until = time.monotonic() + 60
    while Path(f"/proc/{child}").exists() and "(zombie)" not in Path(f"/proc/{child}/status").read_text():
        assert time.monotonic() < until, "it lives on"
        time.sleep(0.05)
