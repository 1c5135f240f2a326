"""The page in a real browser: it loads, cells are drawn where they are, filters change what is drawn and counted."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from pbsbatch.store import open_store
from pbsbatch.testing.browser import CHROMIUM, Page, browse
from pbsbatch.view.server import Viewer, listen
from pbsbatch.view.site import Site
from tests.view.conftest import Results

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")
READY = "document.getElementById('shown') && document.getElementById('map').dataset.waiting === '0'"
MIDDLE = "(r => [r.x + r.width / 2, r.y + r.height / 2])(document.getElementById('map').getBoundingClientRect())"
SHOWN = "+document.getElementById('shown').textContent.replaceAll(',', '')"


@pytest.fixture(scope="module")
def server(results: Results) -> Iterator[Viewer]:
    with listen(Site(results.out), None) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with browse(tmp_path_factory.mktemp("chromium")) as page:
        yield page


def seen(page: Page) -> NDArray[np.int64]:
    """Return the picture of the window as RGB."""
    return cv2.imdecode(np.frombuffer(page.picture(), np.uint8), cv2.IMREAD_COLOR)[..., ::-1].astype(np.int64)


def slider(page: Page, value: int) -> None:
    page.value(
        f"(s => {{ s.value = {value}; s.dispatchEvent(new Event('input')); }})(document.getElementById('score'))"
    )
    page.wait(READY)


def test_cells_are_drawn_where_the_truth_is_and_filters_change_them(
    server: Viewer, page: Page, results: Results
) -> None:
    drawn = results.slides["here"]
    cells = open_store(results.out / "slides" / f"{drawn.id}.zarr").cells
    page.go(f"{server.url}#slide={drawn.id}&x=850&y=550&zoom=1&off=platelet,rbc")
    page.wait(READY)
    assert page.value(SHOWN) == (cells["class"] == 1).sum()
    on, _, origin = _picture_of_cells(page)
    white = np.isin(drawn.labels, cells["id"][cells["class"] == 1])
    border = cv2.morphologyEx(white.astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
    near_border = cv2.dilate(border.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    ys, xs = np.nonzero(on)
    at = np.floor((np.stack([xs, ys], 1) - origin) / 2).astype(int)
    inside = (at >= 0).all(1) & (at[:, 0] < 1700) & (at[:, 1] < 1100)
    assert inside.sum() > 1000 and near_border[at[inside, 1], at[inside, 0]].mean() > 0.97
    slider(page, 50)
    after = (cells["class"] == 1) & (cells["score"] >= 0.5)
    assert page.value(SHOWN) == after.sum() < (cells["class"] == 1).sum()
    assert _picture_of_cells(page)[0].sum() < on.sum()
    page.value("document.querySelector('[data-kind=rbc]').click()")
    page.wait(READY)
    assert page.value(SHOWN) == (after | ((cells["class"] == 0) & (cells["score"] >= 0.5))).sum()
    assert page.errors == []


def _picture_of_cells(page: Page) -> tuple[NDArray[np.bool_], int, NDArray[np.float64]]:
    """Return where the canvas of cells has ink, and where level-0 (0, 0) lies on it."""
    found = page.value(
        "(() => { const c = document.querySelector('.leaflet-cells-pane canvas'), r = c.getBoundingClientRect(),"
        " k = new OffscreenCanvas(c.width, c.height).getContext('2d', { willReadFrequently: true });"
        " k.drawImage(c, 0, 0); const d = k.getImageData(0, 0, c.width, c.height).data, on = [];"
        " for (let i = 3; i < d.length; i += 4) on.push(d[i] > 127 ? 1 : 0);"
        " const m = document.getElementById('map').getBoundingClientRect();"
        " const q = new URLSearchParams(location.hash.slice(1)), s = 2 ** +q.get('zoom');"
        " return { on: on.join(''), w: c.width, h: c.height,"
        " x: m.x + m.width / 2 - q.get('x') * s - r.x, y: m.y + m.height / 2 - q.get('y') * s - r.y }; })()"
    )
    on = np.frombuffer(found["on"].encode(), np.uint8).reshape(found["h"], found["w"]) == ord("1")
    return on, found["w"], np.array([found["x"], found["y"]])


def test_a_link_restores_slide_place_zoom_and_filters(server: Viewer, page: Page, results: Results) -> None:
    drawn = results.slides["here"]
    wanted = f"slide={drawn.id}&x=400&y=300&zoom=0&off=wbc&off-types=round&score=0.25&map=density"
    page.go(f"{server.url}#{wanted}")
    page.wait(READY)
    link = page.wait("document.getElementById('link').getAttribute('href').includes('map=density') && "
                     "document.getElementById('link').getAttribute('href')")  # fmt: skip
    assert parse_qs(urlsplit(link).fragment) == parse_qs(wanted) and server.token not in link
    assert page.value("document.getElementById('title').textContent") == "a<b>&'c.png"
    assert (
        page.value("[...document.querySelectorAll('#classes input')].map(b => b.checked).join()") == "true,false,true"
    )
    assert page.value("document.getElementById('score').value") == "25"
    assert page.errors == []


def test_keys_and_clicks_show_a_cell_s_numbers(server: Viewer, page: Page, results: Results) -> None:
    drawn = results.slides["here"]
    cells = open_store(results.out / "slides" / f"{drawn.id}.zarr").cells
    page.go(f"{server.url}#slide={drawn.id}&x=850&y=550&zoom=0")
    page.wait(READY)
    unsure = np.flatnonzero(cells["type"] == 2)
    order = cells["id"][unsure[np.lexsort((cells["id"][unsure], cells["type_score"][unsure]))]].tolist()
    for key, number in (("n", order[0]), ("n", order[1]), ("N", order[0])):
        page.press(key)
        page.wait(f"document.getElementById('cell-id').textContent === '{number}'")
    facts = page.value("document.getElementById('cell-facts').innerText")
    area = cells["area_px"][order[0] - 1] * 0.0625
    assert "unsure" in facts and "wbc" in facts and f"{area:.1f} µm²" in facts
    page.press("?")
    assert page.wait("document.getElementById('keys').open")
    page.value("document.getElementById('keys').close()")
    page.press("h")
    page.wait("document.getElementById('shown').textContent === '0'")
    page.press("h")
    page.wait(READY)
    page.press("Escape")
    page.wait("document.getElementById('cell').hidden")
    y, x = np.argwhere(cv2.erode((drawn.labels > 0).astype(np.uint8), np.ones((7, 7), np.uint8)) > 0)[4000].tolist()
    page.go(f"{server.url}#slide={drawn.id}&x={x}&y={y}&zoom=1")
    page.wait(READY)
    middle = page.value(MIDDLE)
    page.click(middle[0] + 1, middle[1] + 1)
    page.wait("!document.getElementById('cell').hidden")
    found = int(page.value("document.getElementById('cell-id').textContent"))
    box = [cells[n][found - 1] for n in ("x0", "y0", "x1", "y1")]
    assert box[0] - 1 <= x <= box[2] + 1 and box[1] - 1 <= y <= box[3] + 1
    assert page.errors == []


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (1280, True), (400, False), (400, True)])
def test_the_page_holds_in_every_width_and_light(
    server: Viewer, page: Page, results: Results, width: int, dark: bool
) -> None:
    page.go(f"{server.url}#slide={results.slides['gone'].id}", width, 760, dark=dark)
    page.wait(READY)
    assert page.value("document.documentElement.scrollWidth <= innerWidth")
    assert "preview" in page.value("document.getElementById('notice').textContent")
    page.wait("[...document.querySelectorAll('.pixels img')].every(i => i.complete && i.naturalWidth)")
    corner = seen(page)[2, 2]
    assert (corner.max() < 60) if dark else (corner.min() > 200)
    assert page.errors == []


def test_in_a_narrow_window_a_cell_s_numbers_stand_below_the_slide(
    server: Viewer, page: Page, results: Results
) -> None:
    drawn = results.slides["here"]
    y, x = np.argwhere(cv2.erode((drawn.labels > 0).astype(np.uint8), np.ones((7, 7), np.uint8)) > 0)[4000].tolist()
    page.go(f"{server.url}#slide={drawn.id}&x={x}&y={y}&zoom=1", 400, 760)
    page.wait(READY)
    middle = page.value(MIDDLE)
    page.click(middle[0] + 1, middle[1] + 1)
    page.wait("!document.getElementById('cell').hidden")
    assert page.value("document.getElementById('panel').hidden")
    page.wait("(r => r.height > 60 && r.bottom <= innerHeight && r.right <= innerWidth)"
              "(document.getElementById('cell').getBoundingClientRect())")  # fmt: skip
    assert "score" in page.value("document.getElementById('cell-facts').innerText")
    page.go(f"{server.url}#slide={drawn.id}", 1280, 760)
    page.wait(READY)
    assert page.value("document.getElementById('cell').parentElement.id") == "panel"
    assert page.errors == []


def test_a_crowded_slide_is_a_picture_from_afar_and_outlines_from_near(
    server: Viewer, page: Page, results: Results
) -> None:
    drawn = results.slides["crowded"]
    cells = open_store(results.out / "slides" / f"{drawn.id}.zarr").cells
    page.go(f"{server.url}#slide={drawn.id}&x=300&y=280&zoom=0")
    page.wait(READY)
    assert "from afar" in page.value("document.getElementById('inview').textContent")
    on, _, origin = _picture_of_cells(page)
    x, y = origin.round().astype(int)
    ink = on[y : y + 560, x : x + 600]
    assert (ink == (drawn.labels > 0)).mean() > 0.98
    x, y = 300, int(np.flatnonzero(drawn.labels[:, 300])[200])
    page.go(f"{server.url}#slide={drawn.id}&x={x}&y={y}&zoom=0")
    page.wait(READY)
    page.click(*page.value(MIDDLE))
    page.wait("!document.getElementById('cell').hidden")
    found = int(page.value("document.getElementById('cell-id').textContent"))
    assert found in drawn.labels[y - 1 : y + 2, x - 1 : x + 2]
    page.go(f"{server.url}#slide={drawn.id}&x=300&y=280&zoom=2")
    page.wait(READY)
    inside = int(page.value("document.getElementById('inview').textContent").split(" ")[0].replace(",", ""))
    assert 100 < inside < len(cells["id"])
    assert page.errors == []


def test_the_smear_map_colours_the_blocks(server: Viewer, page: Page, results: Results) -> None:
    page.go(f"{server.url}#slide={results.slides['here'].id}&x=850&y=550&zoom=-1")
    page.wait(READY)
    assert _ink_of_map(page, 0.5, 0.5) == 0
    _choose_map(page, "density")
    page.wait("!document.getElementById('legend').hidden")
    assert _ink_of_map(page, 0.5, 0.5) > 100
    assert _ink_of_map(page, 0.005, 0.005) == 0  # beyond the slide
    assert "red cells per megapixel" in page.value("document.getElementById('legend').innerText")
    assert "map=density" in page.value("location.hash")
    _choose_map(page, "zones")
    assert "monolayer" in page.value("document.getElementById('zones').innerText")
    _choose_map(page, "type")
    legend = page.value("document.getElementById('zones').innerText")
    cells = open_store(results.out / "slides" / f"{results.slides['here'].id}.zarr").cells
    for kind, name in enumerate(("lobed", "round", "unsure")):
        assert f"{name}{(cells['type'] == kind).sum()}" in legend.replace("\n", "").replace(" ", "")
    assert "most frequent type" in page.value("document.getElementById('block').textContent")
    assert _ink_of_map(page, 0.5, 0.5) > 100
    _choose_map(page, "")
    numbers = page.value("document.getElementById('numbers').innerText")
    assert "From the monolayer, 0.42 mm²" in numbers and "5,123" in numbers and "777" in numbers
    page.value("[...document.querySelectorAll('button.area')].find(b => b.innerText.includes('monolayer')).click()")
    assert page.value("document.getElementById('figure').value") == "zones"
    areas = page.value("[...document.querySelectorAll('#zones li')].map(i => i.innerText)")
    mm2 = sum(float(text.split()[-2]) for text in areas if text.endswith("mm²"))
    assert mm2 == pytest.approx(1700 * 1100 * 0.25**2 / 1e6, abs=0.03)  # the zones make up the slide
    assert page.errors == []


def _choose_map(page: Page, name: str) -> None:
    page.value(
        f"(f => {{ f.value = '{name}'; f.dispatchEvent(new Event('change')); }})(document.getElementById('figure'))"
    )


def _ink_of_map(page: Page, x: float, y: float) -> int:
    """Return how opaque the smear map is at a share of its canvas's width and height."""
    opaque: int = page.value(
        "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => {"
        " const c = document.querySelector('.leaflet-smear-pane canvas');"
        " const k = new OffscreenCanvas(1, 1).getContext('2d');"
        f" k.drawImage(c, -Math.floor(c.width * {x}), -Math.floor(c.height * {y}));"
        " done(k.getImageData(0, 0, 1, 1).data[3]); })))"
    )
    return opaque


def test_search_and_the_list_lead_to_slides(server: Viewer, page: Page, results: Results) -> None:
    page.go(server.url)
    page.wait(READY)
    page.value("(s => { s.value = 'CROWD'; s.dispatchEvent(new Event('input')); })(document.getElementById('search'))")
    assert page.value("[...document.querySelectorAll('#list li')].filter(i => !i.hidden).length") == 1
    page.value("[...document.querySelectorAll('#list li')].find(i => !i.hidden).firstElementChild.click()")
    page.wait("document.getElementById('title').textContent === 'crowded.png'")
    page.wait(READY)
    assert f"slide={results.slides['crowded'].id}" in page.value("location.hash")
    assert page.errors == []
