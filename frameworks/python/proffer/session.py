"""One session with one master, from the subscription to its end: sends calls, matches answers to them, queues the events.

It reads while a handler runs, so that a handler can wait for an answer. When too much is queued it stops, and the master sees
a slow reader, unless calls wait for their answers.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass

import grpc

from proffer import v1
from proffer.limits import (
    BACKLOG_MAX,
    BACKLOG_PAUSE,
    CALLS_PENDING_MAX,
    CONNECT_TIMEOUT,
    HEARTBEATS_MISSED_MAX,
    MESSAGE_LEN_MAX,
    STATE_LIST_LEN_MAX,
    SUBSCRIBE_TIMEOUT,
)
from proffer.problem import ProfferError, Unreachable, decode_problem, problem_of
from proffer.waiting import within

log = logging.getLogger("proffer")

_OPTIONS = (
    ("grpc.max_send_message_length", MESSAGE_LEN_MAX),
    ("grpc.max_receive_message_length", STATE_LIST_LEN_MAX),
    ("grpc.enable_retries", 0),
    ("grpc.enable_http_proxy", 0),
    # A connection of its own, that knows nothing of earlier failures.
    ("grpc.use_local_subchannel_pool", 1),
)

OnAnswer = Callable[[v1.Answered], None]
OnStandingBy = Callable[[], Awaitable[None]]

# Calls that may be made twice: one that has no answer when its session ends is made again in the next, under its request id,
# by which a master of the same term knows whether it has done it. An accept is not, because in another term nobody would know
# it from a second one, and a message is delivered at most once. Demands, teardowns and questions are begun anew anyway.
_REPEATABLE = {"kill", "decline", "update_task", "shutdown_executor"}

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
    # Whether the handler was told that the next session begins with it, so that nobody waits for the answer.
    is_kept: bool = False
    # Whether what it would hit was launched anew since.
    is_overtaken: bool = False
    # It was above the rate; this calls it again in time.
    timer: asyncio.TimerHandle | None = None


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
        self._waiting: dict[int, Pending] = {}
        # Those that were kept for this session, until they are done or refused for good.
        self._repeated: list[Pending] = []
        # What the next session is to begin with.
        self.unanswered: list[Pending] = []
        self._requests = requests
        self._moved = asyncio.Event()

    async def open(self, subscribe: v1.Subscribe, on_standing_by: OnStandingBy) -> None:
        """Connects and subscribes, and waits for as long as another session is active; what the master refuses, or that there
        is none, is raised."""
        await self._connect()
        self._stream = v1.SchedulerStub(self.channel).Session(metadata=self.metadata)
        self._writer = asyncio.create_task(self._write())
        self.send(subscribe=subscribe)
        await self._await_subscribed(on_standing_by)

    def send(
        self, on_answer: OnAnswer | None = None, handling: Handling | None = None, **call: object
    ) -> asyncio.Future[v1.Answered]:
        """Sends a call; the future is its answer, or fails when the session ends first, unless the call is to be repeated.
        `on_answer` is called before any event that follows the answer is handled."""
        answer: asyncio.Future[v1.Answered] = asyncio.get_running_loop().create_future()
        message = v1.SessionCall(request_id=next(self._requests), **call)  # type: ignore[arg-type]
        self._mean_for_term(message)
        problem = self.ended and _broken(self.ended)
        if len(self._waiting) >= CALLS_PENDING_MAX:
            problem = ProfferError("server.overloaded", "", f"{CALLS_PENDING_MAX} calls wait for their answers", "wait for answers first")
        elif message.ByteSize() > MESSAGE_LEN_MAX:
            problem = ProfferError("field.too_long", "", f"the call is longer than {MESSAGE_LEN_MAX} bytes", "launch fewer tasks in one call")
        if problem:
            _fail(answer, problem)
            return answer
        if not message.HasField("acknowledge"):
            self._waiting[message.request_id] = Pending(message, answer, on_answer, handling)
        launched = set(_launched(message))
        for pending in self._repeated if launched else ():
            pending.is_overtaken |= not _may_repeat(pending.message, launched)
        self._outgoing.put_nowait(message)
        self._moved.set()
        return answer

    def repeat(self, pending: Pending) -> None:
        """Sends a call that an earlier session has left without an answer. What was kept for a handler has nobody who would
        hear of a refusal: it is logged, and what is above the rate is called again in time."""
        if pending.is_kept:
            pending.answer = asyncio.get_running_loop().create_future()
            pending.on_answer = lambda answered: self._on_repeated(pending, answered)
            self._repeated.append(pending)
        elif pending.answer.done():
            # Whoever waited has gone.
            return
        self._send_again(pending)

    def _send_again(self, pending: Pending) -> None:
        self._mean_for_term(pending.message)
        self._waiting[pending.message.request_id] = pending
        self._outgoing.put_nowait(pending.message)

    def _mean_for_term(self, message: v1.SessionCall) -> None:
        """Says in which term a call is to be done. Of what begins a session the term is not known yet, and an acknowledgement
        is of this session alone."""
        if self.epoch and not message.HasField("acknowledge"):
            message.epoch = self.epoch

    def _on_repeated(self, pending: Pending, answered: v1.Answered) -> None:
        problem = decode_problem(answered.refused) if answered.HasField("refused") else None
        if problem and problem.code == "session.rate_limited":
            # It was not done.
            pending.timer = asyncio.get_running_loop().call_later(problem.retry_after or 0, self._on_time, pending)
            return
        self._repeated.remove(pending)
        if problem:
            log.warning("the master refused what was called again for a handler: %s", problem)

    def _on_time(self, pending: Pending) -> None:
        pending.timer = None
        if pending.is_overtaken:
            self._repeated.remove(pending)
            log.warning("%s is not called again: what it names was launched anew since", pending.message.WhichOneof("call"))
            return
        pending.message.request_id = next(self._requests)
        pending.answer = asyncio.get_running_loop().create_future()
        self._send_again(pending)

    async def receive(self, check_epoch: Callable[[int], None]) -> None:
        """Reads until the session ends, which it never raises but leaves in `ended`."""
        try:
            while not self.ended:
                while self.events.qsize() >= BACKLOG_PAUSE and not self._waiting:
                    self._moved.clear()
                    await self._moved.wait()
                event = await within(self._silence_max, self._read())
                check_epoch(event.epoch)
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
        launched: set[str] = set()
        again: list[Pending] = []
        for pending in reversed(self._waiting.values()):
            launched.update(_launched(pending.message))
            if pending.is_overtaken or not _may_repeat(pending.message, launched):
                _fail(pending.answer, _broken(problem))
                continue
            again.append(pending)
            if pending.handling and not pending.handling.is_over:
                pending.is_kept = True
                _fail(pending.answer, Kept("the session ended before the answer", "the next one begins with the call"))
        for pending in self._repeated:
            if pending.timer:
                pending.timer.cancel()
                pending.timer = None
                if not pending.is_overtaken:
                    self.unanswered.append(pending)
        self.unanswered += reversed(again)
        self._repeated.clear()
        self._waiting.clear()
        self.events.put_nowait(None)

    async def close(self) -> None:
        """Lets go of the connection."""
        self.end(Unreachable("the session was closed"))
        if self._writer:
            self._writer.cancel()
            await asyncio.gather(self._writer, return_exceptions=True)
        await self.channel.close()

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
                await on_standing_by()
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
            pending = self._waiting.pop(event.answered.request_id, None)
            if pending and pending.on_answer:
                pending.on_answer(event.answered)
            if pending and not pending.answer.done():
                pending.answer.set_result(event.answered)
        elif kind == "closed":
            self.is_refused = True
            raise decode_problem(event.closed)
        elif kind in _FOR_HANDLERS:
            self.events.put_nowait(event)
            if self.events.qsize() > BACKLOG_MAX:
                raise Unreachable(f"{BACKLOG_MAX} events wait for their handlers")


def _silence_max(heartbeat_interval_ms: int) -> float:
    return HEARTBEATS_MISSED_MAX * max(heartbeat_interval_ms, 100) / 1000


def _may_repeat(message: v1.SessionCall, launched: set[str]) -> bool:
    """Whether it may be called again, when launches of unknown fate were called after it: it is not meant for those."""
    kind = message.WhichOneof("call")
    if kind == "shutdown_executor":
        return not launched
    task_id = message.kill.task_id or message.update_task.task_id
    return kind in _REPEATABLE and task_id not in launched


def _launched(message: v1.SessionCall) -> list[str]:
    operations = message.accept.operations
    return [task.id for it in operations for task in (it.launch, *it.launch_group.tasks) if task.id]


def _fail(answer: asyncio.Future[v1.Answered], problem: ProfferError) -> None:
    if not answer.done():
        answer.set_exception(problem)
        # Nobody may be waiting; that is no fault.
        answer.exception()


def _broken(why: ProfferError) -> Unreachable:
    hint = "whether the call was carried out is told by the statuses of the next session"
    return Unreachable(f"the session ended before the answer: {why.message}", hint)
