"""One session with one master, from the subscription to its end: sends calls, matches answers to them, queues the events.

It reads while a handler runs, so that a handler can wait for an answer. When too much is queued it stops, and the master sees
a slow reader, unless somebody waits for an answer.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field

import grpc

from proffer import v1
from proffer.limits import (
    ASK_DELAY,
    BACKLOG_MAX,
    BACKLOG_PAUSE,
    CALLS_PENDING_MAX,
    CONNECT_TIMEOUT,
    HEARTBEATS_MISSED_MAX,
    MESSAGE_LEN_MAX,
    SUBSCRIBE_TIMEOUT,
    SUBSCRIBE_TRIES_MAX,
)
from proffer.problem import ProfferError, Unheard, Unreachable, decode_problem, problem_of
from proffer.waiting import within

log = logging.getLogger("proffer")

_OPTIONS = (
    ("grpc.max_send_message_length", MESSAGE_LEN_MAX),
    ("grpc.max_receive_message_length", MESSAGE_LEN_MAX),
    ("grpc.enable_retries", 0),
    ("grpc.enable_http_proxy", 0),
    # A connection of its own, that knows nothing of earlier failures.
    ("grpc.use_local_subchannel_pool", 1),
)

# Of what a call launches, ends or changes: a task or an executor, and its id.
_Name = tuple[str, str]

OnAnswer = Callable[[v1.Answered], None]
OnStandingBy = Callable[[v1.SessionEvent], Awaitable[None]]

# Calls that may be made twice: one that has no answer when its session ends is made again in the next, under its request id,
# by which a master of the same term knows whether it has done it. An accept is not, because in another term nobody would know
# it from a second one, and a message is delivered at most once. Demands, teardowns and questions are begun anew anyway.
_REPEATABLE = {"kill", "decline", "update_task", "shutdown_executor"}

# Of these, those that end or change something, and so are to be done whether anybody waits to hear of it or not.
_TO_BE_DONE = {"kill", "update_task", "shutdown_executor"}

# What goes to the handlers.
_FOR_HANDLERS = {
    "offered",
    "rescinded",
    "updated",
    "agent_settled",
    "snapshot_ended",
    "message",
    "executor_ended",
    "reclaim",
}


@dataclass
class Handling:
    """A handler of this framework's runs, and with it whatever it has begun; what they wait for keeps the next session from
    beginning, until it has returned."""

    framework: object
    is_over: bool = False


@dataclass
class Pending:
    """A call that has no answer yet."""

    message: v1.SessionCall
    answer: asyncio.Future[v1.Answered]
    on_answer: OnAnswer | None
    # In which it was called.
    handling: Handling | None
    # Whether the session is read on for its answer, however much is queued.
    is_awaited: bool
    # Until when it is called again when it is above the rate.
    until: float
    # When it was called last, or is to be called again.
    called_at: float = field(default_factory=lambda: asyncio.get_running_loop().time())
    # Whether the handler was told that the next session begins with it, so that nobody waits for the answer.
    is_kept: bool = False
    # Whether what it would hit was launched after it: it is not meant for that.
    is_overtaken: bool = False
    # It was above the rate; this calls it again in time.
    timer: asyncio.TimerHandle | None = None

    @property
    def kind(self) -> str:
        """What is called."""
        return self.message.WhichOneof("call") or ""

    async def answered(self, seconds: float) -> v1.Answered:
        """Waits so long for the answer, from when it was called last; then raises `asyncio.TimeoutError`, and nobody waits."""
        answer, clock = self.answer, asyncio.get_running_loop()
        try:
            while not answer.done():
                left = self.called_at + seconds - clock.time()
                if left <= 0:
                    raise asyncio.TimeoutError
                await asyncio.wait({answer}, timeout=None if left == math.inf else left)
            return answer.result()
        finally:
            answer.cancel()


class Kept(Unreachable):
    """The session has ended, and the next one begins with the call."""


class Session:
    """A stream and what waits on it."""

    def __init__(self, master: str, token: str | None, requests: Iterator[int]) -> None:
        """`requests` gives the ids of calls: a session that resumes another must not use its ids again."""
        self.master = master
        self.metadata = (("authorization", f"Bearer {token}"),) if token else ()
        self.channel = grpc.aio.insecure_channel(master, options=_OPTIONS)
        self.subscribed = v1.Subscribed()
        self.epoch = 0
        # None follows the last one.
        self.events: asyncio.Queue[v1.SessionEvent | None] = asyncio.Queue()
        self.ended: ProfferError | None = None
        # Whether the master ended it with a word, rather than the connection.
        self.is_refused = False
        self._outgoing: asyncio.Queue[v1.SessionCall] = asyncio.Queue()
        self._writer: asyncio.Task[None] | None = None
        self._reader: asyncio.Task[None] | None = None
        self._waiting: dict[int, Pending] = {}
        # What the accepts among them launch, and by which requests, the latest last.
        self._launching: dict[_Name, dict[int, None]] = {}
        # What the next session is to begin with.
        self.unanswered: list[Pending] = []
        self._requests = requests
        self._moved = asyncio.Event()

    async def open(self, subscribe: v1.Subscribe, on_standing_by: OnStandingBy) -> None:
        """Connects and subscribes, and waits for as long as another session is active; what the master refuses, or that there
        is none, is raised."""
        await self._connect()
        for is_last in (*(SUBSCRIBE_TRIES_MAX - 1) * [False], True):
            self._stream = v1.SchedulerStub(self.channel).Session(metadata=self.metadata)
            self._writer = asyncio.create_task(self._write())
            self.send(subscribe=subscribe)
            try:
                return await self._await_subscribed(on_standing_by)
            except Unheard:
                if is_last:
                    raise
                await _stop(self._writer)

    def begin(self, check_epoch: Callable[[int], None]) -> None:
        """Reads from now on, until it is closed."""
        self._reader = asyncio.create_task(self._receive(check_epoch))

    def send(
        self,
        on_answer: OnAnswer | None = None,
        handling: Handling | None = None,
        seconds: float = math.inf,
        is_awaited: bool = True,
        **call: object,
    ) -> Pending:
        """Sends a call; its answer fails when the session ends first, unless the call is to be repeated. `on_answer` is called
        before any event that follows the answer is handled. For so many seconds it is called again when it is above the rate."""
        clock = asyncio.get_running_loop()
        message = v1.SessionCall(request_id=next(self._requests), **call)  # type: ignore[arg-type]
        self._mean_for_term(message)
        pending = Pending(message, clock.create_future(), on_answer, handling, is_awaited, clock.time() + seconds)
        problem = self.ended and _broken(self.ended)
        if len(self._waiting) >= CALLS_PENDING_MAX:
            problem = ProfferError("server.overloaded", "", f"{CALLS_PENDING_MAX} calls wait for their answers", "wait for answers first")
        elif message.ByteSize() > MESSAGE_LEN_MAX:
            problem = ProfferError("field.too_long", "", f"the call is longer than {MESSAGE_LEN_MAX} bytes", "launch fewer tasks in one call")
        if problem:
            _fail(pending.answer, problem)
            return pending
        # What begins the session is answered by its beginning.
        if pending.kind not in ("acknowledge", "subscribe"):
            self._waiting[message.request_id] = pending
            for name in _launched(message):
                self._launching.setdefault(name, {})[message.request_id] = None
        self._outgoing.put_nowait(message)
        self._moved.set()
        return pending

    def repeat(self, pending: Pending) -> None:
        """Sends a call that an earlier session has left without an answer. What was kept for a handler has nobody who would
        hear of a refusal: it is logged."""
        clock = asyncio.get_running_loop()
        if pending.is_kept:
            pending.answer, pending.until = clock.create_future(), math.inf
            pending.on_answer = lambda answered: _on_repeated(answered)
        elif pending.answer.done() and pending.kind not in _TO_BE_DONE:
            # Whoever waited has gone.
            return
        self._mean_for_term(pending.message)
        self._waiting[pending.message.request_id] = pending
        self._outgoing.put_nowait(pending.message)
        self._moved.set()

    def _mean_for_term(self, message: v1.SessionCall) -> None:
        """Says in which term a call is to be done. Of what begins a session the term is not known yet, and an acknowledgement
        is of this session alone."""
        if self.epoch and not message.HasField("acknowledge"):
            message.epoch = self.epoch

    def _is_put_off(self, pending: Pending, answered: v1.Answered) -> bool:
        """Whether it was above the rate, and is called again while there is time: nothing of it was done."""
        problem = decode_problem(answered.refused) if answered.HasField("refused") else None
        if not problem or problem.code != "session.rate_limited":
            return False
        due_at = asyncio.get_running_loop().time() + (problem.retry_after or 0)
        is_left = pending.answer.done() and pending.kind in _TO_BE_DONE
        if due_at > pending.until and not is_left:
            return False
        self._put_off(pending, due_at)
        return True

    def _put_off(self, pending: Pending, due_at: float) -> None:
        pending.called_at = due_at
        pending.timer = asyncio.get_running_loop().call_at(due_at, self._on_time, pending)

    def _on_time(self, pending: Pending) -> None:
        pending.timer = None
        request_id, target = pending.message.request_id, _target(pending.message)
        if pending.is_overtaken:
            del self._waiting[request_id]
            _deliver(pending, _overtaken(pending))
        elif target and next(reversed(self._launching.get(target, {})), 0) > request_id:
            # What becomes of that launch is told soon.
            self._put_off(pending, asyncio.get_running_loop().time() + ASK_DELAY)
        else:
            self._outgoing.put_nowait(pending.message)

    def _forget_launches(self, message: v1.SessionCall) -> None:
        for name in _launched(message):
            requests = self._launching[name]
            del requests[message.request_id]
            if not requests:
                del self._launching[name]

    def _overtake(self, accept: v1.SessionCall, answered: v1.Answered) -> None:
        """These were launched: what was called before them and is yet to be made is not meant for them."""
        results = [one for it in answered.accepted.results for one in (it.launched, *it.launched_group.results)]
        taken = {result.task_id for result in results if result.task_id and not result.HasField("refused")}
        launched = _launched(accept, taken) if taken else set()
        for pending in self._waiting.values() if launched else ():
            if pending.message.request_id < accept.request_id:
                pending.is_overtaken |= _target(pending.message) in launched

    async def _receive(self, check_epoch: Callable[[int], None]) -> None:
        """Reads until the stream ends, which it never raises but leaves in `ended`. Of what comes after the session has ended it
        takes only that the stream does, too."""
        try:
            while True:
                while self.events.qsize() >= BACKLOG_PAUSE and not self._is_awaited and not self.ended:
                    self._moved.clear()
                    await self._moved.wait()
                event = await within(self._silence_max, self._read())
                check_epoch(event.epoch)
                if not self.ended or event.HasField("closed"):
                    self._on_event(event)
        except asyncio.TimeoutError:
            self.end(Unreachable(f"the master was silent for {self._silence_max:g} s"))
        except grpc.aio.AioRpcError as error:
            self.end(problem_of(error))
        except ProfferError as problem:
            self.end(problem)
        except Exception as defect:
            # The handlers must not wait for ever.
            self.end(Unreachable(f"a defect: {defect!r}"))

    async def next_event(self) -> v1.SessionEvent | None:
        """The next event for the handlers; None when the session has ended. What is queued then comes again in the next."""
        event = await self.events.get()
        self._moved.set()
        return None if self.ended else event

    def end(self, problem: ProfferError) -> None:
        """Fails every call that waits, but for those that are to be repeated. The first reason stays."""
        self.ended = self.ended or problem
        launched: set[_Name] = set()
        again: list[Pending] = []
        for pending in reversed(self._waiting.values()):
            launched |= _launched(pending.message)
            if pending.timer:
                pending.timer.cancel()
                pending.timer = None
            if pending.is_overtaken or not _may_repeat(pending.message, launched):
                _fail(pending.answer, _broken(problem))
                continue
            again.append(pending)
            if pending.handling and not pending.handling.is_over:
                pending.is_kept = True
                _fail(pending.answer, Kept("the session ended before the answer", "the next one begins with the call"))
        self.unanswered += reversed(again)
        self._waiting.clear()
        self._launching.clear()
        self.events.put_nowait(None)
        self._moved.set()

    async def close(self) -> None:
        """Lets go of the connection."""
        self.end(Unreachable("the session was closed"))
        await _stop(*(task for task in (self._writer, self._reader) if task))
        await self.channel.close()

    @property
    def is_open(self) -> bool:
        """Whether its stream has not ended, as far as has been heard; also after the framework has ended the session."""
        return self._reader is not None and not self._reader.done()

    @property
    def _is_awaited(self) -> bool:
        """Whether somebody waits for an answer, who may take no event before it."""
        waiting = (pending for pending in self._waiting.values() if pending.is_awaited and not pending.is_kept)
        return any(not pending.answer.done() for pending in waiting)

    @property
    def _silence_max(self) -> float:
        return _silence_max(self.subscribed.heartbeat_interval_ms)

    async def _connect(self) -> None:
        state = self.channel.get_state(try_to_connect=True)
        try:
            while state is not grpc.ChannelConnectivity.READY:
                if state is grpc.ChannelConnectivity.TRANSIENT_FAILURE:
                    raise Unreachable(f"the master at {self.master} cannot be reached")
                await within(CONNECT_TIMEOUT, self.channel.wait_for_state_change(state))
                state = self.channel.get_state()
        except asyncio.TimeoutError:
            raise Unreachable(f"the master at {self.master} takes no connection") from None

    async def _write(self) -> None:
        # One at a time. When it fails the stream has ended, and whoever reads is told why.
        while True:
            await self._stream.write(await self._outgoing.get())

    async def _read(self) -> v1.SessionEvent:
        event = await self._stream.read()
        if not isinstance(event, v1.SessionEvent):
            # The end of the stream.
            raise Unreachable("the master closed the session")
        return event

    async def _await_subscribed(self, on_standing_by: OnStandingBy) -> None:
        silence_max = SUBSCRIBE_TIMEOUT
        while not self.subscribed.framework_id:
            event = await self._hear(silence_max)
            if event.HasField("standing_by"):
                silence_max = max(_silence_max(event.standing_by.heartbeat_interval_ms), SUBSCRIBE_TIMEOUT)
                await on_standing_by(event)
            elif event.HasField("subscribed"):
                self.subscribed, self.epoch = event.subscribed, event.epoch
            elif event.HasField("closed"):
                raise decode_problem(event.closed)
            elif event.answered.HasField("refused"):
                raise decode_problem(event.answered.refused)

    async def _hear(self, silence_max: float) -> v1.SessionEvent:
        try:
            return await within(silence_max, self._read())
        except asyncio.TimeoutError:
            raise Unreachable(f"the master at {self.master} does not answer") from None
        except grpc.aio.AioRpcError as error:
            raise problem_of(error) from None

    def _on_event(self, event: v1.SessionEvent) -> None:
        kind = event.WhichOneof("event")
        if kind == "answered":
            pending = self._waiting.get(event.answered.request_id)
            if pending and not self._is_put_off(pending, event.answered):
                del self._waiting[event.answered.request_id]
                self._forget_launches(pending.message)
                self._overtake(pending.message, event.answered)
                _deliver(pending, event.answered)
        elif kind == "closed":
            self.is_refused = True
            raise decode_problem(event.closed)
        elif kind in _FOR_HANDLERS:
            self.events.put_nowait(event)
            if self.events.qsize() > BACKLOG_MAX:
                raise Unreachable(f"{BACKLOG_MAX} events wait for their handlers")


async def _stop(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _silence_max(heartbeat_interval_ms: int) -> float:
    return HEARTBEATS_MISSED_MAX * max(heartbeat_interval_ms, 100) / 1000


def _may_repeat(message: v1.SessionCall, launched: set[_Name]) -> bool:
    """Whether it may be called again, when launches of unknown fate were called after it: it is not meant for those."""
    return message.WhichOneof("call") in _REPEATABLE and _target(message) not in launched


def _target(message: v1.SessionCall) -> _Name | None:
    """What a call ends or changes."""
    kind = message.WhichOneof("call")
    if kind == "shutdown_executor":
        return ("executor", message.shutdown_executor.executor_id)
    if kind in ("kill", "update_task"):
        return ("task", message.kill.task_id or message.update_task.task_id)
    return None


def _launched(message: v1.SessionCall, only: set[str] | None = None) -> set[_Name]:
    """The tasks that a call launches, of these, and their executors."""
    operations = message.accept.operations
    specs = [task for it in operations for task in (it.launch, *it.launch_group.tasks) if task.id]
    specs = [task for task in specs if only is None or task.id in only]
    executors = {("executor", task.executor.id) for task in specs if task.HasField("executor")}
    return {("task", task.id) for task in specs} | executors


def _overtaken(pending: Pending) -> v1.Answered:
    """What it would hit was launched since, so it is not called again. A task is launched when the one before it under its id has
    ended: then that is killed."""
    request_id = pending.message.request_id
    if pending.kind == "kill":
        return v1.Answered(request_id=request_id, done=v1.Done())
    message = "what the call names was launched anew while it was above the rate"
    problem = v1.Problem(code="session.rate_limited", kind=v1.PROBLEM_KIND_EXHAUSTED, message=message)
    return v1.Answered(request_id=request_id, refused=problem)


def _on_repeated(answered: v1.Answered) -> None:
    if answered.HasField("refused"):
        log.warning("what was called again for a handler is refused: %s", decode_problem(answered.refused))


def _deliver(pending: Pending, answered: v1.Answered) -> None:
    if pending.on_answer:
        pending.on_answer(answered)
    if not pending.answer.done():
        pending.answer.set_result(answered)


def _fail(answer: asyncio.Future[v1.Answered], problem: ProfferError) -> None:
    if not answer.done():
        answer.set_exception(problem)
        # Nobody may be waiting; that is no fault.
        answer.exception()


def _broken(why: ProfferError) -> Unreachable:
    hint = "whether the call was carried out is told by the statuses of the next session"
    return Unreachable(f"the session ended before the answer: {why.message}", hint)
