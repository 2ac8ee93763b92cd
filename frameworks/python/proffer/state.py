"""Small durable values that the master keeps for a framework, so that its author needs no database.

Every call carries the generation of the session: where another process has taken the framework over it is refused
(`session.fenced`), so that two cannot overwrite each other.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TypeVar

import grpc

from proffer import v1
from proffer.amounts import version
from proffer.limits import STATE_VALUE_LEN_MAX
from proffer.problem import ProfferError, Unreachable, problem_of
from proffer.session import Session


_Request = TypeVar(
    "_Request", v1.GetStateRequest, v1.PutStateRequest, v1.DeleteStateRequest, v1.ListStateRequest, v1.WatchStateRequest
)
_Response = TypeVar("_Response", v1.GetStateResponse, v1.PutStateResponse, v1.DeleteStateResponse, v1.ListStateResponse)


class State:
    """Reads and writes through the session that is active at each call; without one, a call raises `Unreachable`."""

    def __init__(self, session: Callable[[], Session], call_timeout: float) -> None:
        self._session = session
        self._call_timeout = call_timeout

    async def get(self, key: str) -> v1.StateEntry | None:
        """The value of a key and its version, if there is one."""
        try:
            return (await self._call("Get", v1.GetStateRequest(key=key), v1.GetStateResponse)).entry
        except ProfferError as problem:
            if problem.code == "state.key_unknown":
                return None
            raise

    async def put(self, key: str, value: bytes, expected_version: int | None = None) -> int:
        """Writes a value of at most 256 KiB (a larger one is not sent: `state.too_large`), if the key has the version expected
        (0: if there is nothing; else `state.version`), and answers with the new version when it is durable. After
        `Unreachable` it may have been written."""
        expected = version("expected_version", expected_version)
        if len(value) > STATE_VALUE_LEN_MAX:
            message = f"the value has {len(value)} bytes; the limit is {STATE_VALUE_LEN_MAX}"
            hint = "spread it over several keys"
            raise ProfferError("state.too_large", "value", message, hint, v1.PROBLEM_KIND_EXHAUSTED)
        request = v1.PutStateRequest(key=key, value=value, expected_version=expected)
        return (await self._call("Put", request, v1.PutStateResponse)).version

    async def delete(self, key: str, expected_version: int | None = None) -> None:
        """Deletes a key, if it has the version expected (else `state.version`)."""
        expected = version("expected_version", expected_version)
        await self._call("Delete", v1.DeleteStateRequest(key=key, expected_version=expected), v1.DeleteStateResponse)

    async def list(self, prefix: str = "") -> list[v1.StateEntry]:
        """All keys that begin with this, with their values, in order. It is read in pages of 4 MiB: of a key that changes meanwhile,
        what its page found is told."""
        entries: list[v1.StateEntry] = []
        request = v1.ListStateRequest(prefix=prefix, after="")
        generation: int | None = None
        while True:
            page = await self._call("List", request, v1.ListStateResponse, generation)
            generation = request.generation
            entries += page.entries
            if not page.has_more or not page.entries:
                return entries
            request.after = page.entries[-1].key

    async def watch(self, prefix: str = "") -> AsyncIterator[v1.WatchStateResponse]:
        """What is there now, then `up_to_date`, then each change, in order: `put` or `deleted`. It never ends of itself, and
        raises when the session does: `session.fenced`, or `Unreachable`. Begin it anew in the next session. Above the rate it
        waits for its turn, as the calls do."""
        give_up_at = asyncio.get_running_loop().time() + self._call_timeout
        request, generation = v1.WatchStateRequest(prefix=prefix), None
        while True:
            request, stub, session = self._prepare(request, generation)
            generation = request.generation
            try:
                with _problems_of(session):
                    async for change in stub.Watch(request, metadata=session.metadata):
                        yield change
                raise Unreachable("the master ended the watch")
            except ProfferError as problem:
                await _wait_for_turn(problem, give_up_at)

    async def _call(
        self, method: str, request: _Request, response: type[_Response], generation: int | None = None
    ) -> _Response:
        """Calls what is answered with such a response; in a session of this generation, if one is given."""
        give_up_at = asyncio.get_running_loop().time() + self._call_timeout
        while True:
            request, stub, session = self._prepare(request, generation)
            generation = request.generation
            try:
                with _problems_of(session):
                    call = getattr(stub, method)(request, metadata=session.metadata, timeout=self._call_timeout)
                    answered: _Response = await call
                    return answered
            except ProfferError as problem:
                await _wait_for_turn(problem, give_up_at)

    def _prepare(
        self, request: _Request, generation: int | None
    ) -> tuple[_Request, v1.FrameworkStateStub, Session]:
        session = self._session()
        if generation not in (None, session.subscribed.generation):
            # Another program may have been active in between, and have written.
            raise Unreachable("another session began while the call waited for its turn")
        request.framework_id = session.subscribed.framework_id
        request.generation = session.subscribed.generation
        return request, v1.FrameworkStateStub(session.channel), session


async def _wait_for_turn(problem: ProfferError, give_up_at: float) -> None:
    """Above the rate nothing was done: waits until it may be asked again, while there is time. Anything else is raised."""
    wait = problem.retry_after if problem.code == "session.rate_limited" else None
    if wait is None or asyncio.get_running_loop().time() + wait > give_up_at:
        raise problem
    await asyncio.sleep(wait)


@contextlib.contextmanager
def _problems_of(session: Session) -> Iterator[None]:
    """What a call raises becomes a problem. The SDK closes the channel of a session that it leaves, which cancels what is called
    on it: that is not the caller's own cancelling."""
    try:
        yield
    except grpc.aio.AioRpcError as error:
        raise problem_of(error) from None
    except asyncio.CancelledError:
        task = asyncio.current_task()
        # Before Python 3.11 it cannot be told whether the caller is cancelled too.
        is_cancelled = task is not None and getattr(task, "cancelling", int)() > 0
        if session.ended is None or is_cancelled:
            raise
        raise Unreachable("the session ended before the answer") from None
