"""A receiver of webhooks or OpenLineage events on a free port: remembers what it got, and answers as a test
says."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from bridge.client.webhooks import verify_webhook


@dataclass
class WebhookReceiver:
    """``status`` is what it answers; ``messages`` are the (headers, body) pairs that it got, ``taken`` the
    bodies that it answered well."""

    url: str
    status: int = 204
    messages: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    taken: list[bytes] = field(default_factory=list)

    def events(self, secret: str) -> list[dict[str, Any]]:
        """What it got, as far as ``secret`` signed it; anything else raises ``BadSignature``."""
        return [verify_webhook(secret, headers, body) for headers, body in list(self.messages)]

    def types(self, secret: str) -> set[str]:
        """The types of the events, without ``kfbridge.``."""
        return {event["type"].removeprefix("kfbridge.") for event in self.events(secret)}


@contextmanager
def webhook_receiver() -> Iterator[WebhookReceiver]:
    """A receiver that answers until the end of the block."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", "0")))
            status = receiver.status
            receiver.messages.append((dict(self.headers.items()), body))
            if 200 <= status < 300:
                receiver.taken.append(body)
            self.send_response(status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing on the console."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver = WebhookReceiver(f"http://127.0.0.1:{server.server_address[1]}/events")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
