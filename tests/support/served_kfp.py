"""Serves a ``FakeKfp`` over HTTP on a free port, for services that are processes of their own.

Its metadata store is there and empty: every call of gRPC-web is answered with an empty message.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx

from tests.support.fake_kfp import FakeKfp

_METADATA = "/ml_metadata."
_EMPTY = b"\x00\x00\x00\x00\x00" + b"\x80\x00\x00\x00\x0f" + b"grpc-status:0\r\n"


@contextmanager
def serve_kfp(kfp: FakeKfp) -> Iterator[str]:
    """The fake's address, for the length of the block."""
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:
            """Nothing: what was asked is in ``requests``."""

        def date_time_string(self, timestamp: float | None = None) -> str:
            moment = time.time() if timestamp is None else timestamp
            return super().date_time_string(moment + kfp.clock_off_seconds)

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            if self.path.startswith(_METADATA) and kfp.metadata_down:
                return self._send(404, "text/plain", b"404 page not found")
            if self.path.startswith(_METADATA):
                return self._send(200, "application/grpc-web+proto", _EMPTY)
            asked = httpx.Request(
                self.command, f"http://kfp{self.path}", headers=dict(self.headers), content=body
            )
            with lock:
                told = asyncio.run(kfp.handle(asked))
            return self._send(told.status_code, told.headers.get("content-type", "text/plain"), told.content)

        def _send(self, status: int, kind: str, content: bytes) -> None:
            self.send_response(status)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_DELETE = _answer

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join(5)
        server.server_close()
