"""For authors of executors: programs that run tasks on an agent for their framework.

    class Mine(executor.Executor):
        async def on_launch(self, agent, tasks):
            for task in tasks:
                agent.update(task.spec.id, v1.TASK_STATE_RUNNING)
        async def on_kill(self, agent, task_id, grace):
            agent.update(task_id, v1.TASK_STATE_KILLED)

    executor.run(Mine())

An agent starts an executor with the first task that names it. `run` keeps its session with the agent, which breaks when the
agent restarts: it subscribes again, with all that runs and all that is not acknowledged. A status that is said is kept
until the agent has it on disk; `Agent.leave` ends `run` when nothing is left to be heard.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from typing import TypeAlias

import grpc

from proffer import v1
from proffer.amounts import count
from proffer.checks import check_handlers
from proffer.limits import (
    CONNECT_TIMEOUT,
    EXECUTOR_DATA_LEN_MAX,
    EXECUTOR_RETRY_INTERVAL,
    MESSAGE_LEN_MAX,
    STATUS_DATA_LEN_MAX,
)
from proffer.parts import is_terminal, state_name
from proffer.problem import ProfferError, decode_problem, problem_of
from proffer.said import Said
from proffer.waiting import within

_OPTIONS = (
    ("grpc.max_send_message_length", MESSAGE_LEN_MAX),
    ("grpc.max_receive_message_length", MESSAGE_LEN_MAX),
    ("grpc.enable_retries", 0),
    ("grpc.default_authority", "localhost"),
    # A connection of its own, that knows nothing of earlier failures.
    ("grpc.use_local_subchannel_pool", 1),
)

_Stream: TypeAlias = "grpc.aio.StreamStreamCall[v1.ExecutorCall, v1.ExecutorEvent]"

_SAYABLE = {
    v1.TASK_STATE_STARTING,
    v1.TASK_STATE_RUNNING,
    v1.TASK_STATE_KILLING,
    v1.TASK_STATE_FINISHED,
    v1.TASK_STATE_FAILED,
    v1.TASK_STATE_KILLED,
    v1.TASK_STATE_ERROR,
}


class Executor:
    """What an author decides. One handler runs at a time, so one that takes long starts a task of its own."""

    async def on_launch(self, agent: Agent, tasks: Sequence[v1.LaunchExecutorTask]) -> None:
        """Start these: one task, or a group that stands or falls together. Say RUNNING of each, and later how it ended."""
        raise NotImplementedError

    async def on_kill(self, agent: Agent, task_id: str, grace: float) -> None:
        """End a task, and say KILLED when it has. It may not be known, or have ended: then there is nothing to do."""
        raise NotImplementedError

    async def on_kill_launch(self, agent: Agent, task_id: str, incarnation: int, grace: float) -> None:
        """As `on_kill`, which it calls unless it is written: for who runs several launches of one id beside each other, such as
        one that an agent has given up and a later one. `on_launch` has told the incarnations. KILLED then is that launch's."""
        await self.on_kill(agent, task_id, grace)

    async def on_message(self, agent: Agent, data: bytes) -> None:
        """The framework has sent bytes."""

    async def on_shutdown(self, agent: Agent, grace: float) -> None:
        """End all tasks and say what became of them: when this returns and all is acknowledged, `run` ends."""


class Agent:
    """What an executor says to its agent, from any task of its event loop."""

    def __init__(self) -> None:
        self._said = Said()
        self._is_leaving = False
        self._changed = asyncio.Event()

    def update(
        self,
        task_id: str,
        state: int,
        message: str = "",
        *,
        exit_code: int | None = None,
        exit_signal: int | None = None,
        healthy: bool | None = None,
        data: bytes = b"",
    ) -> None:
        """Says what has become of a task; kept until the agent has it on disk, except that while sixteen statuses of a task wait
        for that, one that says more of the same state takes the place of the last. Of a task that has ended, nothing is said,
        nor what leads backwards. What the agent would refuse at each session, and all that comes after it, is raised: more than
        1 MiB and 64 KiB of data, and states that are not an executor's to say. Of a longer message the rest is left out. Of `healthy` what
        was said last counts while the state is the same."""
        if state not in _SAYABLE:
            hint = "say starting, running, killing, finished, failed, killed or error"
            raise ProfferError("field.invalid", "state", f"an executor cannot say {state_name(state)} of a task", hint)
        if len(data) > STATUS_DATA_LEN_MAX:
            raise _too_long("data", data, STATUS_DATA_LEN_MAX)
        for name, number in (("exit_code", exit_code), ("exit_signal", exit_signal)):
            if number is not None:
                count(name, number, least=-(2**31), most=2**31 - 1)
        launch = self._said.launch_of(task_id, state)
        if launch is None:
            return
        status = v1.ExecutorStatus(
            state=state,  # type: ignore[arg-type]
            message=message.encode()[:EXECUTOR_DATA_LEN_MAX].decode(errors="ignore"),
            healthy=healthy,
            exit_code=exit_code,
            exit_signal=exit_signal,
            data=data,
        )
        self._said.say(launch, status)
        self._changed.set()

    def message(self, data: bytes) -> None:
        """Sends bytes to the framework; at most once. Without a session they are gone. More than 64 KiB are refused
        (`field.too_long`)."""
        if len(data) > EXECUTOR_DATA_LEN_MAX:
            raise _too_long("message", data, EXECUTOR_DATA_LEN_MAX)
        self._said.send(data)
        self._changed.set()

    def leave(self) -> None:
        """Ends `run` once all that was said is acknowledged."""
        self._is_leaving = True
        self._changed.set()

    def _may_leave(self) -> bool:
        return self._is_leaving and self._said.is_heard()


class _Over(Exception):
    """The executor is done."""


class _Broken(Exception):
    """The session has ended, and another one is to begin."""


def run(executor: Executor) -> None:
    """Runs an executor in the place that its agent has prepared, until it leaves or is shut down. That this is no such place,
    or that the agent refuses the executor for good, ends the program with a sentence."""
    try:
        asyncio.run(run_executor(executor))
    except ProfferError as problem:
        sys.exit(str(problem))


async def run_executor(executor: Executor) -> None:
    """As `run`, within an event loop; raises what would end the program, such as a handler that is none."""
    check_handlers("executor", executor, Executor)
    socket, token = _find("PROFFER_EXECUTOR_SOCKET"), _find("PROFFER_EXECUTOR_TOKEN")
    agent = Agent()
    while True:
        async with grpc.aio.insecure_channel(f"unix:{socket}", options=_OPTIONS) as channel:
            try:
                await _connect(channel)
                stream = v1.ExecutorStub(channel).Session(metadata=(("authorization", f"Bearer {token}"),))
                await _converse(executor, agent, stream)
            except _Over:
                return
            except _Broken:
                pass
        await asyncio.sleep(EXECUTOR_RETRY_INTERVAL)


async def _connect(channel: grpc.aio.Channel) -> None:
    """Waits for the agent. While it is away there is nobody there."""
    try:
        await within(CONNECT_TIMEOUT, channel.channel_ready())
    except asyncio.TimeoutError:
        raise _Broken from None


async def _converse(executor: Executor, agent: Agent, stream: _Stream) -> None:
    """One session, to its end. A handler that runs then is waited for: what it has begun is said in the next session."""
    writer = asyncio.create_task(_write(agent, stream))
    reader = asyncio.create_task(_read(executor, agent, stream))
    try:
        done, _ = await asyncio.wait({writer, reader}, return_when=asyncio.FIRST_COMPLETED)
        if writer in done:
            # Done, or broken, which the reader is told, too.
            writer.result()
        await reader
    finally:
        writer.cancel()
        reader.cancel()
        await asyncio.gather(writer, reader, return_exceptions=True)


async def _write(agent: Agent, stream: _Stream) -> None:
    """Says all that is to be said, until the session breaks or the executor is done."""
    try:
        await stream.write(agent._said.subscribe())
        while True:
            agent._changed.clear()
            while call := agent._said.next_untold():
                await stream.write(call)
            if agent._may_leave():
                raise _Over
            await agent._changed.wait()
    except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
        # Whoever reads is told why.
        return


async def _read(executor: Executor, agent: Agent, stream: _Stream) -> None:
    """Hears what the agent says; raises at the end of the session, and what a handler raises."""
    while True:
        event = await _next_event(stream)
        kind = event.WhichOneof("event")
        if kind == "launch":
            agent._said.launched((task.spec.id, task.incarnation) for task in event.launch.tasks)
            await executor.on_launch(agent, event.launch.tasks)
        elif kind == "kill":
            kill = event.kill
            if agent._said.is_to_end((kill.task_id, kill.incarnation)):
                await executor.on_kill_launch(agent, kill.task_id, kill.incarnation, kill.grace_ms / 1000)
        elif kind == "acknowledged":
            upto = event.acknowledged
            agent._said.acknowledged((upto.task_id, upto.incarnation), upto.number)
            agent._changed.set()
        elif kind == "message":
            await executor.on_message(agent, event.message)
        elif kind == "shutdown":
            await executor.on_shutdown(agent, event.shutdown.grace_ms / 1000)
            agent.leave()
        elif kind == "closed" and (event.closed.code == "session.fenced" or event.closed.kind == v1.PROBLEM_KIND_INVALID):
            # Another session would say the same, and be told the same.
            raise decode_problem(event.closed)


async def _next_event(stream: _Stream) -> v1.ExecutorEvent:
    try:
        event = await stream.read()
    except grpc.aio.AioRpcError as error:
        problem = problem_of(error)
        if problem.code in ("auth.missing", "auth.denied"):
            raise problem from None
        raise _Broken from None
    if not isinstance(event, v1.ExecutorEvent):
        # The end of the stream.
        raise _Broken
    return event


def _too_long(field: str, data: bytes, most: int) -> ProfferError:
    message = f"{len(data)} bytes are given; the limit is {most}"
    return ProfferError("field.too_long", field, message, "keep what is large in a file, and send its name")


def _find(name: str) -> str:
    if name not in os.environ:
        hint = "an executor is started by an agent, as part of a task"
        raise ProfferError("config.invalid", name, f"{name} is not set", hint)
    return os.environ[name]
