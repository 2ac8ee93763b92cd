"""A master for the unit tests of schedulers: it listens on this host and does only what the test tells it.

    async with FakeMaster() as master:
        running = asyncio.create_task(master.framework("mine").run(MyScheduler()))
        session = await master.session()
        await session.offer("cpus:4;mem:1024")
        (task,) = await session.launches()
        await session.tell(task.id, v1.TASK_STATE_FINISHED)
        await running  # Until the scheduler tears its framework down.

Its `FrameworkState` is whole and outlives sessions. Whatever the test waits for comes within `patience`, or fails it.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Sequence
from types import TracebackType
from typing import Any, TypeVar

import grpc

from proffer import v1
from proffer.framework import Framework
from proffer.parts import resources
from proffer.waiting import within

T = TypeVar("T")

_STATUS_CODES = {
    v1.PROBLEM_KIND_NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    v1.PROBLEM_KIND_CONFLICT: grpc.StatusCode.FAILED_PRECONDITION,
}

# Bytes of keys and values in one answer to a list, as of the master.
_PAGE_LEN_MAX = 4 * 1024 * 1024


class FakeMaster:
    """The master; as many sessions as come, of any framework, one after the other."""

    def __init__(self, patience: float = 10.0) -> None:
        self.patience = patience
        # The leadership term of sessions that begin.
        self.epoch = 1
        # host:port.
        self.address = ""
        self.state = _State()
        self._server = grpc.aio.server()
        self._sessions: asyncio.Queue[FakeSession] = asyncio.Queue()
        self._sequence = itertools.count(1)
        self._generation = itertools.count(1)

    async def __aenter__(self) -> FakeMaster:
        v1.add_SchedulerServicer_to_server(_Scheduler(self._sessions), self._server)
        v1.add_FrameworkStateServicer_to_server(self.state, self._server)
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        await self._server.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._server.stop(None)

    def framework(self, name: str, roles: Sequence[str] = ("*",), **options: Any) -> Framework:
        """A framework that connects here."""
        return Framework(self.address, name, roles, token="0" * 64, **options)

    async def within(self, work: Awaitable[T]) -> T:
        """Waits, but no longer than `patience`."""
        try:
            return await within(self.patience, work)
        except asyncio.TimeoutError:
            raise AssertionError(f"waited in vain for {self.patience:g} s") from None

    async def opened(self) -> FakeSession:
        """The next session, which has subscribed and has no answer yet: `accept`, `stand_by` or `refuse` it."""
        session = await self.within(self._sessions.get())
        session.master = self
        session.subscribe = (await session.call("subscribe")).subscribe
        return session

    async def session(self, is_resumed: bool = False) -> FakeSession:
        """The next session, accepted. Unless it is resumed, a snapshot of no tasks has been told."""
        session = await self.opened()
        await session.accept(is_resumed)
        if not is_resumed:
            await session.send(snapshot_ended=v1.SnapshotEnded())
        return session


class FakeSession:
    """One session of a framework."""

    master: FakeMaster
    # What the framework said of itself.
    subscribe: v1.Subscribe

    def __init__(self, context: Any) -> None:
        self._context = context
        # Of its calls of the state, once it is active.
        self._generation = 0
        self._incarnation = itertools.count(1)
        self._offer = itertools.count(1)
        self._number = itertools.count(1)
        self._incarnations: dict[str, int] = {}
        # Set by `end`.
        self.over = asyncio.Event()

    async def accept(self, is_resumed: bool = False) -> None:
        """Makes it the active one."""
        generation = self._generation = next(self.master._generation)
        self.master.state.activate(generation)
        framework_id = self.subscribe.framework_id or "framework-1"
        subscribed = v1.Subscribed(
            framework_id=framework_id,
            cluster_id="test",
            generation=generation,
            heartbeat_interval_ms=60_000,
            resumed=is_resumed,
        )
        await self.send(subscribed=subscribed)

    async def stand_by(self) -> None:
        """Lets it wait; `accept` it later."""
        told = v1.StandingBy(
            framework_id=self.subscribe.framework_id, cluster_id="test", heartbeat_interval_ms=60_000
        )
        await self.send(standing_by=told)

    async def refuse(self, code: str, kind: int, message: str = "the test says so") -> None:
        """Ends the session with a problem."""
        await self.send(closed=v1.Problem(code=code, kind=kind, message=message))  # type: ignore[arg-type]
        self.end()

    async def call(self, kind: str) -> v1.SessionCall:
        """The next call of a kind, such as `set_demand`; the others before it are answered with Done, accepts are failures."""
        while True:
            call = await self.master.within(self._context.read())
            if not isinstance(call, v1.SessionCall):
                raise AssertionError(f"the framework has gone instead of calling {kind}")
            if call.WhichOneof("call") == kind:
                return call
            if call.HasField("accept"):
                raise AssertionError(f"an accept comes before a {kind}: {call}")
            if not call.HasField("acknowledge"):
                await self.done(call)

    async def gone(self) -> None:
        """Waits until the framework has left the session; one that is updated does so when the next one has begun."""
        while await self.master.within(self._context.read()) is not grpc.aio.EOF:
            pass

    async def done(self, call: v1.SessionCall) -> None:
        """Answers that it is done."""
        await self.answer(call, done=v1.Done())

    async def answer(self, call: v1.SessionCall, **answer: Any) -> None:
        """Answers with `done`, `accepted` or `refused`."""
        await self.send(answered=v1.Answered(request_id=call.request_id, **answer))

    async def offer(self, needs: str, agent: str = "agent-1", demand_id: str = "work", fits: int = 1, **more: Any) -> v1.Offer:
        """Offers an agent's resources, as fitting an entry of the demand so many times."""
        made = v1.Offer(
            id=f"offer-{next(self._offer)}",
            role="*",
            agent_id=agent,
            host=agent,
            resources=resources(needs),
            fits=[v1.Fit(demand_id=demand_id, count=fits)],
            expires_after_ms=60_000,
            **more,
        )
        await self.send(offered=v1.Offered(offers=[made]))
        return made

    async def launches(self) -> list[v1.TaskSpec]:
        """The tasks of the next accept, which is answered: all of them are taken."""
        call = await self.call("accept")
        results, specs = [], []
        for operation in call.accept.operations:
            tasks = [operation.launch] if operation.HasField("launch") else list(operation.launch_group.tasks)
            outcomes = [self._launched(task.id) for task in tasks]
            specs += tasks
            if operation.HasField("launch"):
                results.append(v1.OperationResult(launched=outcomes[0]))
            elif operation.HasField("launch_group"):
                results.append(v1.OperationResult(launched_group=v1.LaunchedGroup(results=outcomes)))
            else:
                results.append(v1.OperationResult(done=v1.Done()))
        await self.answer(call, accepted=v1.Accepted(results=results))
        return specs

    async def tell(self, task_id: str, state: int, **more: Any) -> int:
        """Tells a status of the task's last launch in this session, of the first one without; its sequence is the answer."""
        status = {"incarnation": self._incarnations.get(task_id, 1), "number": next(self._number)} | more
        return await self.send(updated=v1.Status(task_id=task_id, state=state, **status))  # type: ignore[arg-type]

    async def acknowledged(self, sequence: int) -> None:
        """Waits until everything up to this sequence is acknowledged."""
        while (await self.call("acknowledge")).acknowledge.sequence < sequence:
            pass

    async def finish(self) -> None:
        """Waits for the teardown, and completes the framework."""
        await self.done(await self.call("teardown"))
        await self.refuse("framework.completed", v1.PROBLEM_KIND_CONFLICT)

    async def send(self, **event: Any) -> int:
        """Sends any event; its sequence is the answer."""
        sequence = next(self.master._sequence)
        if "closed" in event:
            self.leave_active()
        await self._context.write(v1.SessionEvent(sequence=sequence, epoch=self.master.epoch, **event))
        return sequence

    def end(self) -> None:
        """Breaks the connection of the session; its calls of the state are fenced from then on."""
        self.over.set()
        self.leave_active()

    def leave_active(self) -> None:
        """Another one may be active; until then, none is."""
        if self._generation and self.master.state.generation == self._generation:
            self.master.state.activate(0)

    def _launched(self, task_id: str) -> v1.LaunchResult:
        incarnation = self._incarnations[task_id] = next(self._incarnation)
        return v1.LaunchResult(task_id=task_id, incarnation=incarnation)


class _Scheduler(v1.SchedulerServicer):
    def __init__(self, sessions: asyncio.Queue[FakeSession]) -> None:
        self._sessions = sessions

    async def Session(self, _: Any, context: Any) -> None:
        session = FakeSession(context)
        self._sessions.put_nowait(session)
        try:
            await session.over.wait()
        finally:
            session.leave_active()


class _State(v1.FrameworkStateServicer):
    """Keys with values and versions; calls of another generation than the active session's are fenced."""

    def __init__(self) -> None:
        self.generation = 0
        self.entries: dict[str, v1.StateEntry] = {}
        self._version = itertools.count(1)
        # None: fenced.
        self._watches: list[tuple[str, asyncio.Queue[v1.WatchStateResponse | None]]] = []

    def activate(self, generation: int) -> None:
        """The session of this generation is the active one; 0: none is."""
        self.generation = generation
        watches, self._watches = self._watches, []
        for _, changes in watches:
            changes.put_nowait(None)

    async def Get(self, request: v1.GetStateRequest, context: Any) -> v1.GetStateResponse:
        await self._check(request, context)
        if request.key not in self.entries:
            await _abort(context, "state.key_unknown", v1.PROBLEM_KIND_NOT_FOUND)
        return v1.GetStateResponse(entry=self.entries[request.key])

    async def Put(self, request: v1.PutStateRequest, context: Any) -> v1.PutStateResponse:
        await self._check_version(request, context)
        entry = v1.StateEntry(key=request.key, value=request.value, version=next(self._version))
        self.entries[request.key] = entry
        self._tell(request.key, v1.WatchStateResponse(put=entry))
        return v1.PutStateResponse(version=entry.version)

    async def Delete(self, request: v1.DeleteStateRequest, context: Any) -> v1.DeleteStateResponse:
        await self._check_version(request, context)
        if self.entries.pop(request.key, None):
            self._tell(request.key, v1.WatchStateResponse(deleted=request.key))
        return v1.DeleteStateResponse()

    async def List(self, request: v1.ListStateRequest, context: Any) -> v1.ListStateResponse:
        await self._check(request, context)
        keys = sorted(key for key in self.entries if key.startswith(request.prefix) and key > request.after)
        response, length = v1.ListStateResponse(), 0
        for key in keys:
            length += len(key) + len(self.entries[key].value)
            if length > _PAGE_LEN_MAX:
                response.has_more = True
                break
            response.entries.append(self.entries[key])
        return response

    async def Watch(self, request: v1.WatchStateRequest, context: Any) -> AsyncIterator[v1.WatchStateResponse]:
        await self._check(request, context)
        changes: asyncio.Queue[v1.WatchStateResponse | None] = asyncio.Queue()
        there = [self.entries[key] for key in sorted(self.entries) if key.startswith(request.prefix)]
        self._watches.append((request.prefix, changes))
        for entry in there:
            yield v1.WatchStateResponse(put=entry)
        yield v1.WatchStateResponse(up_to_date=True)
        while change := await changes.get():
            yield change
        await _abort(context, "session.fenced", v1.PROBLEM_KIND_CONFLICT)

    def _tell(self, key: str, change: v1.WatchStateResponse) -> None:
        for prefix, changes in self._watches:
            if key.startswith(prefix):
                changes.put_nowait(change)

    async def _check(self, request: Any, context: Any) -> None:
        if request.generation != self.generation:
            await _abort(context, "session.fenced", v1.PROBLEM_KIND_CONFLICT)

    async def _check_version(self, request: Any, context: Any) -> None:
        await self._check(request, context)
        there = self.entries.get(request.key)
        if request.HasField("expected_version") and request.expected_version != (there.version if there else 0):
            await _abort(context, "state.version", v1.PROBLEM_KIND_CONFLICT)


async def _abort(context: Any, code: str, kind: v1.ProblemKind) -> None:
    problem = v1.Problem(code=code, kind=kind, message="the fake master says so").SerializeToString()
    # A google.rpc.Status whose details hold the problem; its third field, a google.protobuf.Any.
    name = b"type.googleapis.com/proffer.v1.Problem"
    carried = _field(1, name) + _field(2, problem)
    details = (("grpc-status-details-bin", _field(3, carried)),)
    await context.abort(_STATUS_CODES[kind], code, details)


def _field(number: int, data: bytes) -> bytes:
    """A field of bytes on the wire; shorter than two of the seven-bit groups of its length can say."""
    return bytes([number << 3 | 2, len(data) & 0x7F | 0x80, len(data) >> 7]) + data
