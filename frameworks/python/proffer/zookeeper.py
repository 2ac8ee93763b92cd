"""Finds the masters where they stand for election in ZooKeeper; an extra of the package: `pip install proffer[zookeeper]`.

The client, kazoo, has threads of its own, so everything of it is asked from another thread, with a limit of time. Each master
has a node; the one that was created first leads, or is about to. Who may write there may write anything: all of it is checked.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import threading

from proffer.limits import (
    BACKOFF_FIRST,
    BACKOFF_MAX,
    ZOOKEEPER_NODE_LEN_MAX,
    ZOOKEEPER_NODES_MAX,
    ZOOKEEPER_SESSION_TIMEOUT,
    ZOOKEEPER_TIMEOUT,
)
from proffer.masters import Masters, ZooKeeperUrl, parse_masters
from proffer.problem import ProfferError, Unreachable

try:
    from kazoo.client import KazooClient
    from kazoo.exceptions import KazooException, NoNodeError
    from kazoo.handlers.threading import KazooTimeoutError
except ImportError:
    _NEEDS = "masters that are found in ZooKeeper need kazoo, which is not installed"
    raise ProfferError("config.invalid", "masters", _NEEDS, "pip install 'proffer[zookeeper]'") from None

log = logging.getLogger("proffer")

# How the names of masters' nodes begin.
_PREFIX = "json.info_"


class Standing(Masters):
    """The masters that stand at a path in ZooKeeper."""

    def __init__(self, url: ZooKeeperUrl, allow_plaintext: bool) -> None:
        super().__init__([])
        self._url = url
        self._allow_plaintext = allow_plaintext
        self._client: KazooClient | None = None
        # Set while there is a connection.
        self._live = threading.Event()
        self._changed = asyncio.Event()

    async def candidates(self) -> list[str]:
        """Those that stand, in the order in which they would lead."""
        loop = asyncio.get_running_loop()
        self._changed.clear()

        def on_change(_: object) -> None:
            # In a thread of the client's, and perhaps after the end.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(self._changed.set)

        nodes = await asyncio.to_thread(self._read, on_change)
        addresses = [address for data in nodes if (address := _address(data))]
        if not addresses:
            raise Unreachable(f"no master stands at {self._url}", "see that masters run with this store")
        return parse_masters(addresses, self._allow_plaintext)

    def led(self, master: str) -> None:
        """ZooKeeper says who leads."""

    async def overtaken(self, master: str) -> None:
        """Waits until another one is the first of those that stand."""
        while True:
            with contextlib.suppress(asyncio.TimeoutError):
                # Now and then in any case: a watch may be lost with its connection.
                await asyncio.wait_for(self._changed.wait(), ZOOKEEPER_SESSION_TIMEOUT)
            try:
                if (await self.candidates())[0] != master:
                    return
            except ProfferError as problem:
                # The session goes on without it; it has signs of life of its own.
                log.debug("who leads is not known: %s", problem)
                await asyncio.sleep(BACKOFF_MAX)

    async def close(self) -> None:
        """Ends the client."""
        client, self._client = self._client, None
        if client:
            await asyncio.to_thread(_stop, client)

    def _read(self, on_change: object) -> list[bytes]:
        """The nodes' contents, the oldest first; in another thread."""
        try:
            if self._client is None:
                retry = {"max_tries": -1, "delay": BACKOFF_FIRST, "max_delay": BACKOFF_MAX}
                self._client = KazooClient(self._url.servers(), timeout=ZOOKEEPER_SESSION_TIMEOUT, connection_retry=retry)
                self._live = self._client.start_async()
            if not self._live.wait(ZOOKEEPER_TIMEOUT):
                raise OSError("none of its servers answers")
            path = self._url.path
            names = self._client.get_children_async(path, on_change).get(timeout=ZOOKEEPER_TIMEOUT)
            names = sorted(name for name in names if name.startswith(_PREFIX))[:ZOOKEEPER_NODES_MAX]
            asked = [self._client.get_async(f"{path}/{name}") for name in names]
            nodes = []
            for answer in asked:
                # One may have gone since they were listed.
                with contextlib.suppress(NoNodeError):
                    nodes.append(answer.get(timeout=ZOOKEEPER_TIMEOUT))
        except NoNodeError:
            return []
        except (KazooException, KazooTimeoutError, OSError) as error:
            why = str(error) or type(error).__name__
            raise Unreachable(f"{self._url} cannot be asked: {why}", "see that ZooKeeper runs there") from None
        # The numbers in their names may overflow, those of the transactions do not. A node that outlives its session is a copy.
        own = [(stat.czxid, data) for data, stat in nodes if stat.ephemeralOwner]
        return [data for _, data in sorted(own)]


def _stop(client: KazooClient) -> None:
    client.stop()
    client.close()


def _address(data: bytes) -> str:
    """Where the API of a master is, as its node says; empty when it is none of ours."""
    if len(data) > ZOOKEEPER_NODE_LEN_MAX:
        return ""
    with contextlib.suppress(ValueError):
        info = json.loads(data)
        ours = info.get("proffer") if isinstance(info, dict) else None
        address = ours.get("address") if isinstance(ours, dict) else None
        return address if isinstance(address, str) and "," not in address else ""
    return ""
