"""The report in a real browser: sorting and finding by keyboard, narrow, dark and in print."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pbsbatch.disk import write_atomic
from pbsbatch.report.index_page import Entry, index_page
from pbsbatch.report.slide_page import TYPES
from pbsbatch.testing.browser import CHROMIUM, Page, browse

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")
ROWS = "[...document.querySelectorAll('#slides tbody tr')].filter(r => !r.hidden).map(r => r.cells[0].innerText.trim())"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with browse(tmp_path_factory.mktemp("chromium")) as page:
        yield page


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the address of a report over slides whose counts are not in the order of their names."""
    shares = {f"pct_{name}{end}": "10" for name in TYPES for end in ("", "_lo", "_hi")}
    counts = {"a": "30", "b": "4", "c": "", "d": "1200", "e": "7", "f": "99"}
    rows = [
        {"slide": name, "sample": f"sample {name}", "status": "ok" if count else "failed", "n_rbc": count,
         "qc_status": "review" if name == "b" else "pass", "rbc_diameter_um": count or "", **shares}
        for name, count in counts.items()
    ]  # fmt: skip
    path: Path = tmp_path_factory.mktemp("report") / "report.html"
    entries = [Entry(row, f"report/{row['slide']}.html", scanner="S", scanned="2026-01-01T00:00:00") for row in rows]
    write_atomic(path, [index_page({}, entries, rows).encode()])
    return path.as_uri()


def test_the_table_is_sorted_and_filtered_by_keyboard(page: Page, report: str) -> None:
    page.go(report)
    page.wait("document.readyState === 'complete' && !!document.getElementById('find')")
    head = "[...document.querySelectorAll('#slides th button')].find(b => b.innerText === 'red')"
    page.value(f"{head}.focus()")
    for wanted in ("beafdc", "dfaebc"):  # rising, then falling; what is blank comes last
        page.tell("Input.dispatchKeyEvent", type="keyDown", key="Enter", text="\r", windowsVirtualKeyCode=13)
        page.tell("Input.dispatchKeyEvent", type="keyUp", key="Enter", windowsVirtualKeyCode=13)
        assert "".join(page.value(ROWS)) == wanted
    assert page.value(f"{head}.parentElement.getAttribute('aria-sort')") == "descending"
    page.value("document.getElementById('find').focus()")
    page.tell("Input.insertText", text="SAMPLE B")
    assert page.value(ROWS) == ["b"]
    page.value("(f => { f.value = 'nothing'; f.dispatchEvent(new Event('input')); })(document.getElementById('find'))")
    assert page.value("!document.getElementById('none-left').hidden") and page.value(ROWS) == []
    page.value("(f => { f.value = ''; f.dispatchEvent(new Event('input')); })(document.getElementById('find'))")
    page.value("(s => { s.value = 'review'; s.dispatchEvent(new Event('change')); })(document.getElementById('state'))")
    assert page.value(ROWS) == ["b"] and page.errors == []


@pytest.mark.parametrize(("width", "dark"), [(1400, False), (390, True)])
def test_it_holds_in_width_and_light_and_in_print(page: Page, report: str, width: int, dark: bool) -> None:
    page.go(report, width, 800, dark=dark)
    page.wait("document.readyState === 'complete' && document.querySelectorAll('svg').length > 3")
    assert page.value("document.documentElement.scrollWidth <= innerWidth")
    light = page.value("getComputedStyle(document.body).backgroundColor")
    assert (light == "rgb(255, 255, 255)") != dark
    bar = "(s => s.getBoundingClientRect().right >= s.lastElementChild.getBoundingClientRect().right - 0.5)"
    assert page.value(f"[...document.querySelectorAll('td svg')].every({bar})")  # what is unsure comes last
    clipped = "[...document.querySelectorAll('svg text')].filter(t => t.getBBox().x < -1).map(t => t.textContent)"
    assert page.value(clipped) == []
    page.tell("Emulation.setEmulatedMedia", media="print")
    assert page.value("getComputedStyle(document.querySelector('.controls')).display") == "none"
    assert page.value("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"  # whatever the screen
    page.tell("Emulation.setDeviceMetricsOverride", width=703, height=1000, deviceScaleFactor=1, mobile=False)
    assert page.value("[...document.querySelectorAll('.wide')].every(w => w.scrollWidth <= w.clientWidth)")  # A4
    assert len(page.tell("Page.printToPDF")["data"]) > 10_000
    page.tell("Emulation.setEmulatedMedia", media="")
    assert page.errors == []
