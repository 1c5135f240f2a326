"""The report holds every slide, escapes what comes from outside, needs no network, and never costs a run."""

from __future__ import annotations

import csv
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binom

from pbsbatch.config import Config
from pbsbatch.detections import Detections
from pbsbatch.disk import write_atomic
from pbsbatch.report import FIELD_PX, MOST_FIELD_PAGES, has_page, pictures, write_report
from pbsbatch.report.index_page import Entry, counted_of_100, index_page
from pbsbatch.report.reporter import Reporter
from pbsbatch.report.slide_page import TYPES, slide_page
from pbsbatch.results import open_run, originals
from pbsbatch.run import cluster
from pbsbatch.run.columns import COLUMNS
from pbsbatch.run.execute import execute
from pbsbatch.run.verify import verify
from pbsbatch.store import Preview, Store, StoreHeader, TileRows, open_store
from pbsbatch.testing.oracle import load_fake_engine, load_fake_oracle
from tests.oracle import draw_cells, write_oracle_slide

EVIL = '<script>alert(1)<|script>".tif'
LOADERS = cluster.Loaders(load_fake_oracle, load_fake_engine)


class Page(HTMLParser):
    """Notes the elements of a page, and whether each is closed where it must be."""

    VOID = ("meta", "img", "input", "br", "rect", "path", "circle", "polyline")

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.feed(path.read_text(encoding="utf-8"))
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.seen if name == tag]


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    (folder / "slides").mkdir()
    for n, name in enumerate((EVIL, "b.tif")):
        write_oracle_slide(folder / "slides" / name, draw_cells(1500, 1100, 150, seed=n))
    (folder / "slides" / "broken.tif").write_bytes((folder / "slides" / "b.tif").read_bytes()[:3000])
    with Reporter(folder / "out") as reporter:
        config = Config(inputs=(folder / "slides",), output=folder / "out", workers=1)
        execute(config, reporter.on_event, loaders=LOADERS)
    assert reporter.report == folder / "out" / "report.html" and reporter.problem is None
    return folder / "out"


def test_every_slide_stands_in_the_table_with_its_page(out: Path) -> None:
    index = Page(out / "report.html")
    with (out / "summary.csv").open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    lines = [a for a in index.all("tr") if "data-state" in a]
    assert len(lines) == len(rows) == 3
    assert [a["data-state"] for a in lines].count("failed") == 1
    links = {a["href"] for a in index.all("a")}
    assert links == {f"report/{slide.id}.html" for slide in open_run(out)}
    assert "broken.tif" in index.words and "1 failed" not in index.words
    for slide in open_run(out):
        page = Page(out / "report" / f"{slide.id}.html")
        assert slide.name in page.words
        shown = [a for a in page.all("img") if "cell " in str(a.get("alt"))]
        assert len(shown) == min(80, int((slide.cells["class"] == 1).sum()))


def test_the_table_answers_what_a_first_reader_asks() -> None:
    """Why a slide failed, what a bar's colours mean, which slides this run did not compute, what it waited for."""
    row = dict.fromkeys(COLUMNS, "") | {
        "status": "ok",
        "n_rbc": "900",
        "n_wbc": "80",
        "n_platelet": "15",
        "n_nrbc": "5",
    }
    entries = [
        Entry(row | {"slide": "now", "seconds": "2.5", "mpix_per_s": "1.7", "pct_neutrophil": "60.0"}),
        Entry(row | {"slide": "before", "seconds": "0"}),
        Entry(row | {"slide": "cut", "status": "failed", "error": "truncated <file>", "seconds": "", "n_rbc": ""}),
    ]
    text = index_page({"finished_utc": "2026-03-01T04:05:59+00:00", "bound_by": "infer"}, entries, [])
    lines = re.findall(r"<tr data-text.*?</tr>", text)
    assert [">kept<" in line for line in lines] == [False, True, False] and "2.5</td>" in lines[0]
    assert '<td><span class="dim">truncated &lt;file&gt;</span></td>' in lines[2]
    shown = [slide_page(e.row, "", [], "", {}) for e in entries]
    assert ["seconds of work" in page for page in shown] == [True, False, False]
    key = text[text.index('class="key') :]
    assert [f"></i>{n.replace('_', ' ')}</span>" in key for n in (*TYPES, "unsure")] == [True] * 7
    assert 'class="key' not in index_page({}, entries[1:], [])
    assert "finished 2026-03-01 04:05 UTC" in text and ">the network</b>bound by" in text
    assert ">2,100</b>cells" in text  # nucleated red cells are cells


def test_nothing_from_outside_becomes_markup_and_nothing_is_loaded(out: Path) -> None:
    for path in (out / "report.html", *(out / "report").iterdir()):
        page = Page(path)
        assert len(page.all("script")) == (path.name == "report.html")  # our own, and no other
        assert not [a for _, a in page.seen if any(name.startswith("on") for name in a)]
        sources = [a["src"] for _, a in page.seen if "src" in a]
        assert all(str(source).startswith("data:image/") for source in sources)
        assert not re.search(r'(?:href|src)="(?:https?:)?//', path.read_text())
        assert page.all("link") == [] and page.all("iframe") == []
        assert "default-src 'none'" in str(next(a for a in page.all("meta") if "http-equiv" in a)["content"])
    assert EVIL in Page(out / "report.html").words


def test_a_page_is_made_once_and_again_where_the_slide_came_back(out: Path, tmp_path: Path) -> None:
    there = tmp_path / "out"
    shutil.copytree(out, there)
    kept = sorted((there / ".pbsbatch" / "report").iterdir())
    assert len(kept) == 2
    slide = open_run(there)[0]
    parts = [p for p in kept if p.name.startswith(slide.id)]
    before = parts[0].stat().st_mtime_ns
    write_report(there, originals(open_run(there)))
    assert parts[0].stat().st_mtime_ns == before
    for part in kept:
        part.unlink()
    write_report(there, {})
    assert "the slide was not at hand" in Page(there / "report" / f"{slide.id}.html").words
    write_report(there, originals(open_run(there)))
    assert "the slide was not at hand" not in Page(there / "report" / f"{slide.id}.html").words


def test_a_report_that_cannot_be_written_costs_no_run(out: Path, tmp_path: Path) -> None:
    there = tmp_path / "out"
    shutil.copytree(out, there)
    shutil.rmtree(there / "report")
    (there / "report").write_text("a file where a folder must be")
    with Reporter(there) as reporter:
        config = Config(inputs=(out.parent / "slides",), output=there, workers=1)
        finished = execute(config, reporter.on_event, loaders=LOADERS)
    assert reporter.report is None
    assert "a file stands where a folder must be" in str(reporter.problem).lower()
    assert [r.status for r in finished.results].count("ok") == 2


def test_the_differential_is_drawn_with_its_interval_and_a_manual_counts(tmp_path: Path) -> None:
    shares = {f"pct_{name}": str(share) for name, share in zip(TYPES, (60, 30, 6, 3, 0.5, 0.5), strict=True)}
    ends = {f"{name}{end}": "1" for name in shares for end in ("_lo", "_hi")}
    row = {"slide": "a", "status": "ok", "n_wbc_diff": "200", "diff_status": "ok", "sample": "s<", **shares, **ends}
    write_atomic(tmp_path / "i.html", [index_page({}, [Entry(row)] * 6, [row]).encode()])
    page = Page(tmp_path / "i.html")
    labels = [str(a["aria-label"]) for a in page.all("svg")]
    assert labels[0].startswith("neutrophil 60 %, lymphocyte 30 %") and len(labels) == 6
    assert "s<" in page.words and "50–69" in page.words  # of 100 cells when six in ten are neutrophils


@pytest.mark.parametrize("share", [0.0, 0.005, 0.05, 0.3, 0.6, 1.0])
def test_what_a_manual_count_reads_is_binomial(share: float) -> None:
    assert counted_of_100(share) == (binom.ppf(0.025, 100, share), binom.ppf(0.975, 100, share))


def test_the_report_of_two_hundred_slides_stays_under_25_mb(tmp_path: Path) -> None:
    """The worst of them: pictures that JPEG cannot pack, long names, every column full, a sample each, all charts."""
    rng = np.random.default_rng(0)
    header = StoreHeader("noise", 4000, 4000, 0.25, ("RBC",), 1, 3.0)
    store = Store.begin(tmp_path, header, "0" * 64)
    store.append(0, Detections.empty(), TileRows.empty())
    noise = rng.integers(0, 256, (1000, 1000, 3)).astype(np.uint8)
    noise = noise[::7, ::7].repeat(7, 0).repeat(7, 1)[:1000, :1000]  # coarse, or a thumbnail averages it away
    made = open_store(store.commit(Preview(noise, 4.0)).path)
    thumbnail = pictures.thumbnail(made)
    assert len(thumbnail) > 10_000
    rows = [
        {name: f"{rng.uniform(1, 1e6):.6g}" for name in COLUMNS}
        | {"slide": f"{i} " + 200 * "n", "sample": f"{i} " + 100 * "s", "status": "ok", "qc_status": "review",
           "qc_reasons": ";".join(["few_red_cells"] * 6), "mpp_source": "metadata", "n_rbc": "1000000", "n_wbc": "1",
           "n_platelet": "1", "n_nrbc": "1", "diff_status": "ok"}
        | {f"pct_{name}{end}": "14.2857" for name in TYPES for end in ("", "_lo", "_hi")} for i in range(200)
    ]  # fmt: skip
    measured = {"rbc_od": 0.4, "edge_px": 2.0}
    entries = [
        Entry(row, f"report/{i}.html", thumbnail, measured, "scanner", "2026-01-01") for i, row in enumerate(rows)
    ]
    page = index_page({}, entries, rows).encode()
    assert 200 * len(thumbnail) < len(page) < 25e6
    assert page.count(b"<figure>") >= 8  # the archive and its courses are in it


def test_thousands_of_fields_have_no_pages() -> None:
    assert has_page(MOST_FIELD_PAGES, 640, 480) and not has_page(MOST_FIELD_PAGES + 1, 640, 480)
    assert has_page(10_000, FIELD_PX, 1)


def test_the_report_is_part_of_what_is_verified(out: Path, tmp_path: Path) -> None:
    there = tmp_path / "out"
    shutil.copytree(out, there)
    assert verify(there).right
    page = next((there / "report").iterdir())
    page.write_text("changed")
    (there / "report" / "more.html").write_text("")
    verdict = verify(there)
    assert verdict.changed == [f"report/{page.name}"] and verdict.extra == ["report/more.html"]


def test_outliers_and_courses_are_drawn_from_five_slides_on() -> None:
    rng = np.random.default_rng(0)
    rows = [
        {"slide": f"s{i}", "status": "ok", "rbc_diameter_um": f"{v:.3f}"} for i, v in enumerate(rng.normal(7, 0.1, 9))
    ]
    rows.append({"slide": "odd", "status": "ok", "rbc_diameter_um": "9.5"})
    html = index_page({}, [Entry(row) for row in rows], [])
    assert html.count("#d55e00") >= 1 and "Course" in html and "odd: 9.5" in html
    assert "Course" not in index_page({}, [Entry(row) for row in rows[:4]], [])


def test_a_course_follows_each_scanner_by_itself_over_time() -> None:
    def entry(day: int, scanner: str, value: float) -> Entry:
        row = {"slide": f"{scanner}{day}", "status": "ok", "rbc_diameter_um": f"{value:.3f}"}
        return Entry(row, scanner=scanner, scanned=f"2026-03-{day:02d}T10:00:00" if scanner else "")

    days = [4, 1, 12, 9, 7, 2, 3, 10]
    entries = [entry(day, "A<b>", 7 + day / 100) for day in days]
    entries += [entry(day, "B", 6 + day / 100) for day in days[:6]] + [
        entry(day, "", 7.0 + day / 9) for day in days[:5]
    ]
    entries += [entry(day, "few", 9) for day in days[:4]]
    html = index_page({}, entries, [])
    course = html.partition("<h2>Course</h2>")[2]
    figures = course.split("<figure>")[1:4]
    captions = [figure.partition("</figcaption>")[0] for figure in figures]
    assert ["scanner not told, in the order of the table" in captions[0], "A&lt;b&gt;, by the time" in captions[1]] == [
        True
    ] * 2
    assert "scanner B, by the time" in captions[2] and "few" not in course
    for figure, wanted in ((figures[1], sorted(days)), (figures[2], sorted(days[:6]))):
        shown = [int(d) for d in re.findall(r"<title>(?:A&lt;b&gt;|B)(\d+): ", figure)]
        assert shown == wanted  # by time, whatever the order of the table
    assert ">2026-03-01<" in figures[1] and ">2026-03-12<" in figures[1] and ">2026-03-12<" in figures[2]
    assert "2026" not in figures[0]


def test_a_run_that_has_not_finished_and_a_store_that_cannot_be_read_have_a_report(out: Path, tmp_path: Path) -> None:
    there = tmp_path / "out"
    shutil.copytree(out, there)
    for name in ("summary.csv", "samples.csv", "run.json", "report.html"):
        (there / name).unlink()
    one, other = (slide.id for slide in open_run(there))
    about = there / "slides" / f"{one}.zarr" / "zarr.json"
    about.write_text(about.read_text().replace('"version": 2', '"version": 1'))
    (there / "report" / f"{one}.html").unlink()
    write_report(there, {})
    page = Page(there / "report.html")
    assert "not finished yet" in page.words and "results version 1, this is 2" in page.words
    assert {a["href"] for a in page.all("a")} == {f"report/{other}.html"}


@pytest.mark.parametrize(("more", "shown"), [
    ({}, []), ({"pct_monocyte": "4"}, ["differential"]), ({"n_second_opinion": "9", "n_disagree": "0"}, ["disagree"]),
])  # fmt: skip
def test_columns_in_which_no_slide_says_anything_are_left_out(more: dict[str, str], shown: list[str]) -> None:
    page = index_page({}, [Entry({"slide": "a", "status": "ok"}), Entry({"slide": "b", "status": "ok", **more})], [])
    assert [name for name in ("differential", "disagree") if f">{name}</button>" in page] == shown
    heads, (*lines, _) = page.count('<th scope="col"'), page.split("</tr>")[1:]
    assert len(lines) == 2 and {line.count("<td") for line in lines} == {heads}
