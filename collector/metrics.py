"""Serves figures to Prometheus, of either daemon: made when they are asked for, out of what is known anyway."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, ProcessCollector, start_http_server
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from collector.config import Metrics
from collector.exits import Unreachable


class Exposition:
    """A page of figures over HTTP, at any path. As a context it listens; `collect` is called in threads of its own.

    Raises Unreachable when nobody can listen there.
    """

    def __init__(self, settings: Metrics, collect: Callable[[], Iterable[Metric]]) -> None:
        self._settings = settings
        self._registry = CollectorRegistry()
        self._registry.register(_Collector(collect))
        ProcessCollector(registry=self._registry)  # CPU seconds, resident bytes, open files, start
        self._server: WSGIServer | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Exposition:
        host, port = self._settings.address
        try:
            self._server, self._thread = start_http_server(port, host, registry=self._registry)
        except OSError as error:
            raise Unreachable(
                f"metrics: nobody can listen at {self._settings.listen}: {error}; choose another port, or another "
                "address of this computer"
            ) from None
        return self

    def __exit__(self, *_: object) -> None:
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()


class _Collector(Collector):
    def __init__(self, work: Callable[[], Iterable[Metric]]) -> None:
        self._work = work

    def describe(self) -> Iterable[Metric]:
        return ()  # else the registry collects once before there is anything to say

    def collect(self) -> Iterable[Metric]:
        return self._work()
