"""An MQTT broker inside this process (amqtt), on a free port of this machine, for the demo."""

from __future__ import annotations

import asyncio
import logging
import threading

from amqtt.broker import Broker


class EmbeddedBroker:
    """As a context it runs; `url` says where. It lets everybody in: it listens on the loopback address alone."""

    url: str

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._failed: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="broker", daemon=True)

    def __enter__(self) -> EmbeddedBroker:
        self._thread.start()
        self._ready.wait()
        if self._failed is not None:
            raise RuntimeError("the embedded broker did not start") from self._failed
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._done.set)
        self._thread.join()

    def _run(self) -> None:
        # The broker logs each closed connection as a warning and more; a demo's reader wants none of it.
        logging.getLogger("amqtt").setLevel(logging.CRITICAL)
        logging.getLogger("transitions").setLevel(logging.CRITICAL)
        try:
            self._loop.run_until_complete(self._serve())
        except BaseException as error:
            self._failed = error
            self._ready.set()
            raise
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        self._done = asyncio.Event()
        broker = Broker(
            {
                "listeners": {"default": {"type": "tcp", "bind": "127.0.0.1:0"}},
                "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
            },
            loop=self._loop,
        )
        await broker.start()
        listening = next(iter(broker._servers.values())).instance
        assert listening is not None
        self.url = f"mqtt://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        self._ready.set()
        await self._done.wait()
        await broker.shutdown()
