"""An HTTP server that says what a test tells it to, byte for byte: what no healthy server can be brought to say."""

from __future__ import annotations

import socket
import threading
import urllib.parse
from collections.abc import Callable, Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple


class Asked(NamedTuple):
    """A request as it came. `path` without its parameters."""

    method: str
    path: str
    parameters: dict[str, str]
    headers: Mapping[str, str]
    body: bytes


class Answer(NamedTuple):
    """What is said. `cut`: the connection ends before the body that the head has promised."""

    status: int = 204
    body: bytes = b""
    headers: Mapping[str, str] = {}
    cut: bool = False


class ScriptedHttp:
    """Answers each request by `script`. As a context it listens on a free port of the loopback."""

    def __init__(self, script: Callable[[Asked], Answer]) -> None:
        self.asked: list[Asked] = []
        self.script = script
        ours = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                parts = urllib.parse.urlsplit(self.path)
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                parameters = dict(urllib.parse.parse_qsl(parts.query))
                asked = Asked(self.command, parts.path, parameters, dict(self.headers), body)
                ours.asked.append(asked)
                answer = ours.script(asked)
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                if answer.status != 204:
                    self.send_header("Content-Length", str(len(answer.body) + (100 if answer.cut else 0)))
                self.end_headers()
                self.wfile.write(answer.body)
                if answer.cut:
                    self.close_connection = True
                    with suppress(OSError):
                        self.connection.shutdown(socket.SHUT_RDWR)

            do_GET = do_POST = answer

            def log_message(self, *_: Any) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> ScriptedHttp:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
