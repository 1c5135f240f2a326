"""What spares reading a slide again, and what does not."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from pbsbatch.config import Config
from pbsbatch.run import content as content_module
from pbsbatch.run.content import Content, content_digest, content_of
from pbsbatch.run.driver import CONTENTS
from pbsbatch.run.execute import execute
from pbsbatch.run.output import MARKER
from pbsbatch.run.slide_digest import Ledger
from pbsbatch.run.worker import Loaders
from pbsbatch.testing.oracle import load_fake_engine, load_fake_oracle
from tests.oracle import draw_cells, write_oracle_slide


def at_rest(path: Path, seconds: int = 1_700_000_000) -> Path:
    """Let a file look as if it had been written long ago."""
    os.utime(path, (seconds, seconds))
    return path


@pytest.fixture
def slide(tmp_path: Path) -> Path:
    path = tmp_path / "a.tif"
    path.write_bytes(bytes(range(256)) * 20_000)  # longer than what is sampled
    return at_rest(path)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    seen: list[Path] = []

    def digest(path: Path) -> str:
        seen.append(path)
        return content_digest(path)

    monkeypatch.setattr(content_module, "content_digest", digest)
    return seen


def test_files_that_look_the_same_are_not_read_again(slide: Path, reads: list[Path]) -> None:
    known = content_of(slide)
    assert known == Content(content_digest(slide), known.hint) and known.hint
    assert content_of(slide, known) == known
    assert reads == [slide]


def test_other_time_size_or_inode_mean_reading_and_the_digest_decides(slide: Path, reads: list[Path]) -> None:
    known = content_of(slide)
    at_rest(slide, 1_700_000_001)
    touched = content_of(slide, known)
    assert touched.digest == known.digest and touched.hint != known.hint
    copy = shutil.copy2(slide, slide.with_name("b.tif"))
    Path(copy).replace(slide)
    copied = content_of(slide, touched)
    assert copied.digest == known.digest and copied.hint != touched.hint
    with slide.open("r+b") as file:
        file.write(b"other")
    at_rest(slide, 1_700_000_002)
    assert content_of(slide, copied).digest != known.digest
    with slide.open("ab") as file:
        file.write(b"more")
    at_rest(slide, 1_700_000_002)
    content_of(slide, copied)
    assert len(reads) == 5


def test_a_file_that_was_written_just_now_or_while_it_was_read_gets_no_hint(
    slide: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slide.touch()
    young = content_of(slide)
    assert young.hint == ""
    at_rest(slide)

    def written_to(path: Path) -> str:
        digest = content_digest(path)
        with path.open("ab") as file:
            file.write(b"more")
        at_rest(path)
        return digest

    monkeypatch.setattr(content_module, "content_digest", written_to)
    assert content_of(slide, young).hint == ""


def test_a_slide_of_several_files_is_known_by_all_of_them(tmp_path: Path, reads: list[Path]) -> None:
    slide, part = tmp_path / "a.mrxs", tmp_path / "a" / "Data0.dat"
    part.parent.mkdir()
    for path in (slide, part):
        path.write_bytes(b"some")
        at_rest(path)
    known = content_of(slide)
    assert content_of(slide, known) == known
    part.write_bytes(b"more")
    assert content_of(slide, known).digest != known.digest


def test_a_run_remembers_what_slides_looked_like_and_reads_what_was_touched(tmp_path: Path) -> None:
    slide, out = tmp_path / "a.tif", tmp_path / "out"
    write_oracle_slide(slide, draw_cells(300, 260, 20, seed=1))
    image = slide.read_bytes()
    slide.write_bytes(image + b"\0")  # what follows an image is none of its reader's business
    at_rest(slide)
    config = Config(inputs=(slide,), output=out, workers=1)

    def resumed() -> bool:
        (result,) = execute(config, lambda _: None, loaders=Loaders(load_fake_oracle, load_fake_engine)).results
        assert result.status == "ok"
        return result.resumed

    def known() -> dict[str, Content]:
        return Ledger(out / MARKER / CONTENTS, Content).known

    assert not resumed()
    (first,) = known().values()
    assert first == content_of(slide)
    slide.write_bytes(image + b"\1")  # behind the back of whoever looks at size, time and inode alone
    at_rest(slide)
    assert resumed(), "it was read again"
    assert list(known().values()) == [first]
    at_rest(slide, 1_700_000_001)
    assert not resumed(), "touched files are read again"
    (last,) = known().values()
    assert last == content_of(slide) != first
