"""A real browser without a window, told what to do by its own protocol over a pipe: no port, no package."""

from __future__ import annotations

import base64
import itertools
import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["CHROMIUM", "Page", "browse"]

CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)
_START = (
    "import fcntl, os, sys\n"
    "r, w = (fcntl.fcntl(int(n), fcntl.F_DUPFD, 20) for n in sys.argv[1:3])\n"
    "os.dup2(r, 3); os.dup2(w, 4); os.execv(sys.argv[3], sys.argv[3:])\n"
)
"""The browser hears on descriptor 3 and speaks on 4."""


class Page:
    """One page. `errors` are what it complained of on its console, or threw, since it was opened."""

    def __init__(self, hear: int, speak: int) -> None:
        self._hear, self._speak = hear, speak
        self._numbers = itertools.count(1)
        self._rest = b""
        self._session: str | None = None
        self.errors: list[str] = []
        target = self.tell("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.tell("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.tell(f"{domain}.enable")

    def tell(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Give one command and return its result."""
        number = next(self._numbers)
        message: dict[str, Any] = {"id": number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._speak, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                result: dict[str, Any] = answer["result"]
                return result

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            if not select.select([self._hear], [], [], 120)[0]:
                raise TimeoutError("the browser says nothing")
            more = os.read(self._hear, 1 << 20)
            if not more:
                raise RuntimeError("the browser ended")
            self._rest += more
        line, _, self._rest = self._rest.partition(b"\0")
        answer: dict[str, Any] = json.loads(line)
        self._note(answer)
        return answer

    def _note(self, event: dict[str, Any]) -> None:
        said = event.get("params", {})
        match event.get("method"):
            case "Runtime.exceptionThrown":
                self.errors.append(json.dumps(said["exceptionDetails"])[:600])
            case "Runtime.consoleAPICalled" if said["type"] in ("error", "warning", "assert"):
                self.errors.append(json.dumps(said["args"])[:600])
            case "Log.entryAdded" if said["entry"]["level"] in ("error", "warning"):
                self.errors.append(f"{said['entry']['text']} {said['entry'].get('url', '')}")

    def go(self, url: str, width: int = 1280, height: int = 800, *, dark: bool = False) -> None:
        """Open an address in a window of a size."""
        self.tell("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.tell("Emulation.setEmulatedMedia", features=[scheme])
        self.errors.clear()
        self.tell("Page.navigate", url="about:blank")  # else a change behind # alone loads nothing
        self.tell("Page.navigate", url=url)

    def value(self, expression: str) -> Any:
        """Return what an expression gives in the page."""
        done = self.tell("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in done:
            raise RuntimeError(json.dumps(done["exceptionDetails"])[:600])
        return done["result"].get("value")

    def wait(self, expression: str, seconds: float = 90) -> Any:
        """Return the value of an expression as soon as it is true."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            value = self.value(f"(() => {{ try {{ return {expression}; }} catch {{ return null; }} }})()")
            if value:
                return value
            time.sleep(0.1)
        raise TimeoutError(f"never true: {expression}; {self.errors}; {self.value('document.body.innerText')}")

    def press(self, key: str) -> None:
        """Press a key."""
        self.tell("Input.dispatchKeyEvent", type="keyDown", key=key, text=key if len(key) == 1 else "")
        self.tell("Input.dispatchKeyEvent", type="keyUp", key=key)

    def click(self, x: float, y: float) -> None:
        """Click a point of the window."""
        for kind in ("mousePressed", "mouseReleased"):
            self.tell("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def picture(self) -> bytes:
        """Return what is seen, as PNG."""
        return base64.b64decode(self.tell("Page.captureScreenshot", format="png")["data"])


@contextmanager
def browse(folder: Path) -> Iterator[Page]:
    """Start a browser whose profile lies in a folder, and end it."""
    if CHROMIUM is None:
        raise FileNotFoundError("no Chromium was found")
    to_read, ours_out = os.pipe()
    ours_in, to_write = os.pipe()
    command = [
        sys.executable, "-c", _START, str(to_read), str(to_write), CHROMIUM, "--headless=new",
        "--remote-debugging-pipe",
        "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-extensions",
        "--force-color-profile=srgb", f"--user-data-dir={folder}", "about:blank",
    ]  # fmt: skip
    process = subprocess.Popen(  # noqa: S603 - a browser by its path, no shell
        command, pass_fds=(to_read, to_write), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    os.close(to_read)
    os.close(to_write)
    try:
        yield Page(ours_in, ours_out)
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        os.close(ours_in)
        os.close(ours_out)
