"""moto's S3 over HTTP, with faults on request: slowness, refusals, throttling, absence."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

BUCKET = "emofuse-test"
Fault = Callable[[dict[str, Any]], "tuple[str, bytes] | float | None"]


@dataclass
class Server:
    """moto's S3 over HTTP, with faults on request.

    Attributes:
        fault: told each request's WSGI environment; gives a status and body to answer with, seconds to wait, or None.
        requests: (method, path) of each request so far.
    """

    port: int = 0
    fault: Fault | None = None
    requests: list[tuple[str, str]] = field(default_factory=list)
    _app: Any = field(default_factory=lambda: DomainDispatcherApplication(create_backend_app))
    _server: Any = None

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Listen, at the same port as before if there was one."""
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self._server = make_server("127.0.0.1", self.port, self, threaded=True)
        self.port = self._server.port
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        """Go away; what was stored stays."""
        self._server.shutdown()
        self._server.server_close()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        """Answer, or fail as asked."""
        self.requests.append((environ["REQUEST_METHOD"], environ["PATH_INFO"]))
        answer = self.fault(environ) if self.fault else None
        if isinstance(answer, tuple):
            start_response(answer[0], [("Content-Type", "application/xml"), ("Content-Length", str(len(answer[1])))])
            return [answer[1]]
        if answer:
            time.sleep(answer)
        return self._app(environ, start_response)


def error(status: str, code: str) -> tuple[str, bytes]:
    """A refusal in S3's own form."""
    return status, f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{code}</Message></Error>".encode()


def failing(times: int, answer: tuple[str, bytes], method: str = "GET", ending: str = "") -> Fault:
    """Fail the first so many requests of a kind."""
    left = [times]

    def fault(environ: dict[str, Any]) -> tuple[str, bytes] | None:
        if environ["REQUEST_METHOD"] == method and environ["PATH_INFO"].endswith(ending) and left[0] > 0:
            left[0] -= 1
            return answer
        return None

    return fault
