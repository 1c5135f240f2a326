"""The server over real loopback HTTP: who is answered, with what, and who is not."""

from __future__ import annotations

import http.client
import json
import shutil
import signal
import socket
import subprocess
import sys
import threading
import webbrowser
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from pbsbatch.cli import app
from pbsbatch.errors import UsageError
from pbsbatch.view import site as sites
from pbsbatch.view.server import HEADERS, Viewer, listen
from pbsbatch.view.site import Site
from tests.view.conftest import Results


@pytest.fixture(scope="module")
def server(results: Results) -> Iterator[Viewer]:
    with listen(Site(results.out), None) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def ask(
    server: Viewer, address: str, method: str = "GET", *, token: str | None = None, host: str | None = None,
) -> tuple[int, bytes, dict[str, str]]:  # fmt: skip
    line = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)
    line.putrequest(method, f"/{server.token if token is None else token}/{address}", skip_host=True)
    line.putheader("Host", f"127.0.0.1:{server.server_port}" if host is None else host)
    line.endheaders()
    answer = line.getresponse()
    body, headers = answer.read(), dict(answer.getheaders())
    line.close()
    return answer.status, body, headers


def test_the_page_and_its_files_come_with_strict_headers(server: Viewer) -> None:
    for address, kind in (
        ("", "text/html"), ("view.js", "text/javascript"), ("view.css", "text/css"), ("leaflet.js", "text/javascript"),
        ("leaflet.css", "text/css"), ("cells.js", "text/javascript"), ("slides.json", "application/json"),
    ):  # fmt: skip
        status, body, headers = ask(server, address)
        assert status == 200 and body and headers["Content-Type"].startswith(kind)
        assert HEADERS.items() <= headers.items()
        assert headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert "unsafe" not in headers["Content-Security-Policy"] and "*" not in headers["Content-Security-Policy"]
        status, nothing, same = ask(server, address, "HEAD")
        assert (status, nothing, same["Content-Length"]) == (200, b"", str(len(body)))
    assert server.server_address[0] == "127.0.0.1" and len(server.token) >= 32
    assert server.url == f"http://127.0.0.1:{server.server_port}/{server.token}/"


@pytest.mark.parametrize("token", ["", "wrong", "%00", "..", "é" * 8])
def test_without_the_token_there_is_nothing(server: Viewer, token: str) -> None:
    for address in ("", "slides.json", "leaflet.js"):
        quoted = token.encode().decode("latin-1") if token.isascii() else "%C3%A9" * 8
        assert ask(server, address, token=quoted)[:2] == (404, b'{"error":"there is nothing here"}')
    assert ask(server, "", token=server.token[:-1])[0] == 404
    assert ask(server, "", token=server.token + "a")[0] == 404


@pytest.mark.parametrize(
    "host", ["", "evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "[::1]:{port}"]
)
def test_another_host_is_refused(server: Viewer, host: str) -> None:
    named = host.format(port=server.server_port)
    assert ask(server, "slides.json", host=named)[0] == 403
    assert ask(server, "slides.json", "POST", host=named)[0] == 403
    assert ask(server, "slides.json", host=f"LOCALHOST:{server.server_port}")[0] == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_it_only_shows(server: Viewer, method: str) -> None:
    status, _, headers = ask(server, "slides.json", method)
    assert (status, headers["Allow"]) == (405, "GET, HEAD")


def test_nothing_but_known_slides_and_tiles_is_there(server: Viewer, results: Results) -> None:
    here, crowded = results.slides["here"].id, results.slides["crowded"].id
    (results.out / "secret.json").write_text("{}")
    for address in (
        "nothing", "slide/unknown.json", "thumb/unknown.jpg", "slide/..%2f..%2fsecret.json", "../secret.json",
        "%2e%2e/secret.json", f"slide/{here}/../../secret.json", "thumb/..%2F..%2Fsecret.jpg", "slide/.json",
        f"tile/{here}/0/4/0.jpg", f"tile/{here}/0/0/3.jpg", f"tile/{here}/0/-1/0.jpg", f"tile/{here}/3/0/0.jpg",
        f"tile/{here}/-1/0/0.jpg", f"tile/{here}/0/0.5/0.jpg", f"tile/{here}/0/0/0.png", f"near/{crowded}/0/0/0.json",
        f"near/{here}/-5/0/0.json", f"far/{here}/9/0/0.bin", f"cell/{here}/0.json", f"cell/{here}/99999999.json",
        f"cell/{here}/1e3.json", f"tile/{here}/0/99999999999/0.jpg", "slides.json/", "a" * 3000,
    ):  # fmt: skip
        assert ask(server, address)[0] == 404, address
    assert ask(server, f"cell/{here}/1.json?anything=1")[0] == 200


def test_tiles_are_the_slide_s_pixels_cut_off_where_it_ends(server: Viewer, results: Results) -> None:
    drawn = results.slides["here"]
    truth = drawn.pixels().astype(int)
    for level, column, row, shape in ((0, 0, 0, (512, 512)), (0, 3, 2, (76, 164)), (1, 1, 1, (38, 338))):
        status, body, headers = ask(server, f"tile/{drawn.id}/{level}/{column}/{row}.jpg")
        assert status == 200 and headers["Content-Type"] == "image/jpeg"
        tile = cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_COLOR)[..., ::-1].astype(int)
        assert tile.shape[:2] == shape
        step, y, x = 2**level, row * 512, column * 512
        part = truth[y * step : (y + shape[0]) * step : step, x * step : (x + shape[1]) * step : step]
        assert np.abs(tile - part).mean() < 12
    thumb = cv2.imdecode(np.frombuffer(ask(server, f"thumb/{drawn.id}.jpg")[1], np.uint8), cv2.IMREAD_COLOR)
    assert max(thumb.shape) <= 160


def test_where_the_slide_is_gone_the_preview_stands_in_and_it_is_said(server: Viewer, results: Results) -> None:
    gone = results.slides["gone"]
    said = json.loads(ask(server, f"slide/{gone.id}.json")[1])
    assert "not where it was" in said["preview_because"]
    assert json.loads(ask(server, f"slide/{results.slides['here'].id}.json")[1])["preview_because"] is None
    body = ask(server, f"tile/{gone.id}/0/1/0.jpg")[1]
    tile = cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_COLOR)[..., ::-1].astype(int)
    part = gone.pixels()[:512, 512:1024].astype(int)
    assert tile.shape == part.shape
    assert np.abs(cv2.blur((tile - part).astype(np.float32), (31, 31))).max() < 25  # in place, though not sharp


def test_a_file_of_another_size_is_not_taken_for_the_slide(results: Results, tmp_path: Path) -> None:
    drawn, out = results.slides["crowded"], tmp_path / "out"
    shutil.copytree(results.out, out)
    facts = json.loads((out / "run.json").read_text())
    folder = shutil.copytree(facts["config"]["inputs"][0], tmp_path / "slides")
    cv2.imwrite(str(folder / "crowded.png"), np.zeros((90, 80, 3), np.uint8))
    (out / "run.json").write_text(json.dumps({"config": {"inputs": [str(folder)]}}))
    said = json.loads(Site(out).answer(f"slide/{drawn.id}.json").body)
    assert said["preview_because"] == "the file in its place has 80 x 90 px"


def test_facts_of_a_slide_its_index_and_its_map(server: Viewer, results: Results) -> None:
    drawn = results.slides["here"]
    listed = json.loads(ask(server, "slides.json")[1])
    assert {s["id"] for s in listed["slides"]} == {d.id for d in results.slides.values()} and listed["finished"]
    facts = json.loads(ask(server, f"slide/{drawn.id}.json")[1])
    assert (facts["width"], facts["height"], facts["mpp"], facts["coarsest"]) == (1700, 1100, 0.25, 2)
    assert facts["name"] == "a<b>&'c.png" and facts["cells"] == len(drawn.smear.truth)
    assert list(facts["classes"]) == ["rbc", "wbc", "platelet"] and len(set(facts["classes"].values())) == 3
    index = json.loads(ask(server, f"index/{drawn.id}.json")[1])
    assert np.sum(index["counts"]) == facts["cells"] and index["near"] == 2
    smear = json.loads(ask(server, f"map/{drawn.id}.json")[1])
    assert {"density", "overlap", "focus", "zones", "type"} <= {f["name"] for f in smear["figures"]}
    assert all(len(f["values"]) == len(smear["columns"]) * len(smear["rows"]) for f in smear["figures"])
    assert smear["columns"][0][0] == 0 and smear["columns"][-1][1] >= 1700


def test_a_damaged_and_an_older_store_are_said_and_cost_nothing_else(results: Results, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(results.out, out)
    here, gone, crowded = (results.slides[w].id for w in ("here", "gone", "crowded"))
    (out / "slides" / f"{here}.zarr" / "zarr.json").write_text("{")
    shutil.rmtree(out / "slides" / f"{gone}.zarr" / "labels")
    root = out / "slides" / f"{crowded}.zarr" / "zarr.json"
    site = Site(out)
    assert site.answer(f"slide/{crowded}.json").status == 200
    root.write_text(root.read_text().replace('"version": 2', '"version": 1'))
    site = Site(out)
    for address, said in (
        (f"slide/{here}.json", "no store that can be read"), (f"near/{gone}/0/0/0.json", "cannot be read"),
        (f"index/{crowded}.json", "version 1"),
    ):  # fmt: skip
        answer = site.answer(address)
        assert answer.status == 500 and said in json.loads(answer.body)["error"], answer
    assert site.answer("slides.json").status == 200 and site.answer(f"slide/{gone}.json").status == 200


def test_a_run_that_goes_on_shows_what_it_has(results: Results, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / "slides").mkdir(parents=True)
    site = Site(out)
    assert json.loads(site.answer("slides.json").body) == {"run": "out", "finished": False, "slides": []}
    drawn = results.slides["gone"]
    shutil.copytree(results.out / "slides" / f"{drawn.id}.zarr", out / "slides" / f"{drawn.id}.zarr")
    assert [s["id"] for s in json.loads(site.answer("slides.json").body)["slides"]] == [drawn.id]
    assert site.answer(f"tile/{drawn.id}/0/0/0.jpg").status == 200


def test_a_port_in_use_is_said_and_the_next_is_taken_where_none_was_asked_for(server: Viewer, results: Results) -> None:
    site = Site(results.out)
    with pytest.raises(UsageError, match=rf"port {server.server_port} is in use\. Give another --port"):
        listen(site, server.server_port)
    with listen(site, None) as other:
        assert other.server_port != server.server_port and other.token != server.token


def test_without_the_map_library_the_cure_is_said(results: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sites, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'pbsbatch\[view\]'"):
        Site(results.out)


def test_a_browser_that_goes_away_harms_nothing(server: Viewer, results: Results, capfd: pytest.CaptureFixture) -> None:
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", server.server_port)) as line:
            path = f"/{server.token}/leaflet.js"
            line.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{server.server_port}\r\n\r\n".encode())
            line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # a reset, not a goodbye
    assert ask(server, "slides.json")[0] == 200
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("way", [signal.SIGINT, signal.SIGTERM])
def test_the_command_says_where_and_ends_cleanly(results: Results, way: signal.Signals) -> None:
    program = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a shell's & has it ignored
        "from pbsbatch.cli import main; main()"
    )
    command = [sys.executable, "-u", "-c", program, "view", str(results.out), "--no-browser"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url, how = process.stdout.readline().strip(), process.stdout.readline()
        assert url.startswith("http://127.0.0.1:") and url.endswith("/")
        port, token = url.removeprefix("http://127.0.0.1:").rstrip("/").split("/")
        line = http.client.HTTPConnection("127.0.0.1", int(port), timeout=60)
        line.request("GET", f"/{token}/")
        assert line.getresponse().status == 200
        line.close()
        process.send_signal(way)
        rest, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "") and (how, rest) == ("Ctrl-C ends it.\n", "ended\n")


@pytest.mark.parametrize(("screen", "asked", "opened"), [(":0", [], 1), ("", [], 0), (":0", ["--no-browser"], 0)])
def test_a_browser_is_opened_where_there_is_a_screen_unless_told_not_to(
    results: Results, monkeypatch: pytest.MonkeyPatch, screen: str, asked: list[str], opened: int
) -> None:
    def interrupted(self: Viewer) -> None:
        raise KeyboardInterrupt

    urls: list[str] = []
    monkeypatch.setattr(webbrowser, "open", urls.append)
    monkeypatch.setattr(Viewer, "serve_forever", interrupted)
    monkeypatch.setenv("DISPLAY", screen)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    done = CliRunner().invoke(app, ["view", str(results.out), *asked], catch_exceptions=False)
    assert done.exit_code == 0 and len(urls) == opened
    assert done.output.splitlines()[0].startswith("http://127.0.0.1:")
    assert not opened or urls[0] == done.output.splitlines()[0]
