"""Serve the viewer to this machine's browser.

Laws. It listens on the loopback address alone. An address without the token is answered as one that is not there; a
request that names another host, as one does after DNS rebinding, is refused before anything else is looked at. It is
read-only: GET and HEAD. Nothing is kept in the browser's cache, and the page may fetch from nowhere else.
"""

from __future__ import annotations

import errno
import hmac
import secrets
import socketserver
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

from pbsbatch.errors import UsageError
from pbsbatch.view.site import JSON, NOTHING, Answer, Site

__all__ = ["FIRST_PORT", "Viewer", "listen"]

LOOPBACK = "127.0.0.1"
FIRST_PORT, PORTS, HTTP_PORT = 8765, 20, 80
LONGEST = 1000
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store", "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin", "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY",
}  # fmt: skip
REFUSED = Answer(403, JSON, b'{"error":"this host is not served"}')
READ_ONLY = Answer(405, JSON, b'{"error":"this viewer only shows"}')
GONE = (BrokenPipeError, ConnectionResetError, ConnectionAbortedError, TimeoutError)


class Viewer(ThreadingHTTPServer):
    """The server of one site, with its token."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, site: Site, port: int) -> None:
        self.site = site
        self.token = secrets.token_urlsafe(24)
        super().__init__((LOOPBACK, port), _Handler)
        names = (LOOPBACK, "localhost")
        self.hosts = tuple(f"{name}:{self.server_port}" for name in names)
        if self.server_port == HTTP_PORT:  # which a browser leaves out
            self.hosts += names

    def server_bind(self) -> None:
        """Bind without asking the network for this machine's name, as the base class does."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = LOOPBACK, int(self.server_address[1])

    @property
    def url(self) -> str:
        """Return what a browser is given."""
        return f"http://{self.hosts[0]}/{self.token}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Pass over a browser that went away; anything else is told."""
        if not isinstance(sys.exception(), GONE):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "pbsbatch", ""
    timeout = 120
    server: Viewer

    def do_GET(self) -> None:
        self._send(self._answer(), whole=True)

    def do_HEAD(self) -> None:
        self._send(self._answer(), whole=False)

    def _refuse(self) -> None:
        self.close_connection = True  # a body may follow, which nobody reads
        self._send(READ_ONLY if self._for_us() else REFUSED, whole=True)

    do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = do_TRACE = do_CONNECT = _refuse

    def _for_us(self) -> bool:
        hosts = self.headers.get_all("Host", [])
        return len(hosts) == 1 and hosts[0].lower() in self.server.hosts

    def _answer(self) -> Answer:
        if self.headers.get("Content-Length") or self.headers.get("Transfer-Encoding"):
            self.close_connection = True
        if not self._for_us():
            return REFUSED
        path = self.path.partition("?")[0]
        token, slash, address = path[1:].partition("/")
        known = hmac.compare_digest(token.encode("utf-8", "replace"), self.server.token.encode())
        if not (path.startswith("/") and known and slash) or len(path) > LONGEST:
            return NOTHING
        return self.server.site.answer(unquote(address, errors="replace"))

    def _send(self, answer: Answer, *, whole: bool) -> None:
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.kind)
        self.send_header("Content-Length", str(len(answer.body)))
        if answer.status == 405:
            self.send_header("Allow", "GET, HEAD")
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.end_headers()
        if whole:
            self.wfile.write(answer.body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: addresses hold the token."""


def listen(site: Site, port: int | None) -> Viewer:
    """Return a server that has its port. Raises UsageError where the port that was asked for cannot be had."""
    for tried in (port,) if port is not None else (*range(FIRST_PORT, FIRST_PORT + PORTS), 0):
        try:
            return Viewer(site, tried)
        except OSError as error:
            if port is None and error.errno == errno.EADDRINUSE:
                continue
            why = "is in use" if error.errno == errno.EADDRINUSE else f"cannot be used ({error.strerror})"
            raise UsageError(f"port {tried} {why}", cure="Give another --port, or none: a free one is taken") from error
    raise AssertionError("port 0 is never in use")
