"""What an executor says, through sessions that break, against an agent that does only what the test tells it."""

import asyncio
import importlib.util
import os
import tempfile
import unittest
from pathlib import Path
from unittest import mock

import grpc

from proffer import ProfferError, executor, v1
from proffer.limits import MESSAGE_LEN_MAX

EXAMPLE = Path(__file__).resolve().parents[2] / "examples/executor.py"
PATIENCE = 20


class FakeAgent(v1.ExecutorServicer):
    """The agent's end of the sessions."""

    def __init__(self):
        self.sessions = asyncio.Queue()

    async def Session(self, _, context):
        over = asyncio.Event()
        self.sessions.put_nowait((context, over))
        await over.wait()


class Sessions(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self):
        self.place = tempfile.TemporaryDirectory()
        self.addCleanup(self.place.cleanup)
        socket = f"{self.place.name}/executor.sock"
        options = [("grpc.max_receive_message_length", MESSAGE_LEN_MAX)]
        self.agent, self.server = FakeAgent(), grpc.aio.server(options=options)
        v1.add_ExecutorServicer_to_server(self.agent, self.server)
        self.server.add_insecure_port(f"unix:{socket}")
        await self.server.start()
        self.addAsyncCleanup(self.server.stop, None)
        place = {"PROFFER_EXECUTOR_SOCKET": socket, "PROFFER_EXECUTOR_TOKEN": "secret"}
        self.enterContext(mock.patch.dict(os.environ, place))
        self.running = asyncio.create_task(executor.run_executor(await self.begin()))
        self.addAsyncCleanup(self.stop)

    async def begin(self):
        """The executor that runs."""
        spec = importlib.util.spec_from_file_location("executor_example", EXAMPLE)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module.Shells()

    async def stop(self):
        self.running.cancel()
        await asyncio.gather(self.running, return_exceptions=True)

    async def session(self):
        """The next session, and what it subscribed with."""
        self.context, self.over = await asyncio.wait_for(self.agent.sessions.get(), PATIENCE)
        self.assertIn(("authorization", "Bearer secret"), list(self.context.invocation_metadata()))
        return (await self.call()).subscribe

    async def call(self):
        call = await asyncio.wait_for(self.context.read(), PATIENCE)
        self.assertIsNot(call, grpc.aio.EOF)
        return call

    async def tell(self, **event):
        await self.context.write(v1.ExecutorEvent(**event))

    async def launch(self, incarnation, task_id, line):
        spec = v1.TaskSpec(id=task_id, data=line.encode())
        tasks = [v1.LaunchExecutorTask(incarnation=incarnation, spec=spec)]
        await self.tell(launch=v1.LaunchExecutorTasks(tasks=tasks))

    async def acknowledge(self, status):
        names = {"task_id": status.task_id, "incarnation": status.incarnation, "number": status.number}
        await self.tell(acknowledged=v1.ExecutorAcknowledged(**names))

    async def test_what_is_not_acknowledged_is_said_again_after_a_break(self):
        first = await self.session()
        self.assertEqual((len(first.tasks), len(first.unacknowledged)), (0, 0))
        await self.launch(7, "t", "exit 3")
        await self.launch(8, "lasting", "exec sleep 1000")
        told = [(await self.call()).update for _ in range(3)]
        of_t = [status for status in told if status.task_id == "t"]
        self.assertEqual([(status.number, status.incarnation) for status in of_t], [(1, 7), (2, 7)])
        self.assertEqual((of_t[1].state, of_t[1].exit_code), (v1.TASK_STATE_FAILED, 3))
        await self.acknowledge(of_t[0])
        await self.tell(message=b"so far")
        self.assertEqual((await self.call()).message, b"so far: 2 tasks")
        self.over.set()
        again = await self.session()
        self.assertEqual([task.task_id for task in again.tasks], ["lasting"])
        left = {(status.task_id, status.number) for status in again.unacknowledged}
        self.assertEqual(left, {("t", 2), ("lasting", 1)})
        for status in again.unacknowledged:
            await self.acknowledge(status)
        await self.tell(kill=v1.KillExecutorTask(task_id="lasting", incarnation=8, grace_ms=1_000))
        killed = (await self.call()).update
        self.assertEqual((killed.task_id, killed.state), ("lasting", v1.TASK_STATE_KILLED))
        # It ends when that is acknowledged, and not before.
        await self.tell(shutdown=v1.ExecutorShutdown(grace_ms=60_000))
        self.assertFalse(self.running.done())
        await self.acknowledge(killed)
        await asyncio.wait_for(self.running, PATIENCE)

    async def test_one_that_the_agent_has_replaced_ends(self):
        await self.session()
        await self.tell(closed=v1.Problem(code="session.fenced", message="another one is there"))
        with self.assertRaises(ProfferError) as refused:
            await asyncio.wait_for(self.running, PATIENCE)
        self.assertEqual(refused.exception.code, "session.fenced")


class Slow(executor.Executor):
    """Its handlers do what the test says."""

    def __init__(self):
        self.is_launching, self.may_go_on = asyncio.Event(), asyncio.Event()
        self.failure = None

    async def on_launch(self, agent, tasks):
        self.agent = agent
        self.is_launching.set()
        await self.may_go_on.wait()
        if self.failure:
            raise self.failure
        agent.update(tasks[0].spec.id, v1.TASK_STATE_RUNNING)


class Handlers(Sessions):
    async def begin(self):
        self.executor = Slow()
        return self.executor

    async def launched(self):
        await self.session()
        await self.launch(7, "t", "")
        await asyncio.wait_for(self.executor.is_launching.wait(), PATIENCE)

    async def test_a_handler_goes_on_when_the_session_breaks_and_what_it_says_is_kept(self):
        await self.launched()
        self.over.set()
        await asyncio.sleep(0)
        # A word while nobody listens.
        for _ in range(100):
            self.executor.agent.update("t", v1.TASK_STATE_STARTING)
            await asyncio.sleep(0.002)
        self.executor.may_go_on.set()
        again = await self.session()
        self.assertEqual([task.task_id for task in again.tasks], ["t"])
        self.assertEqual(again.unacknowledged[-1].state, v1.TASK_STATE_RUNNING)

    async def test_what_does_not_fit_into_a_subscription_follows_it(self):
        await self.session()
        names = [f"t{i}" for i in range(200)]
        specs = [v1.LaunchExecutorTask(incarnation=7, spec=v1.TaskSpec(id=name)) for name in names]
        await self.tell(launch=v1.LaunchExecutorTasks(tasks=specs))
        await asyncio.wait_for(self.executor.is_launching.wait(), PATIENCE)
        self.over.set()
        for name in names:
            self.executor.agent.update(name, v1.TASK_STATE_FAILED, data=b"x" * 64 * 1024)
        self.executor.may_go_on.set()
        again = await self.session()
        told = [status.task_id for status in again.unacknowledged]
        self.assertEqual({task.task_id for task in again.tasks}, set(names) - set(told))
        while len(told) < len(names):
            told.append((await self.call()).update.task_id)
        self.assertEqual(told, names)

    async def test_a_handler_that_fails_ends_it_whatever_the_failure(self):
        self.executor.failure = asyncio.TimeoutError("of the author's own")
        self.executor.may_go_on.set()
        await self.launched()
        with self.assertRaises(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.shield(self.running), PATIENCE)
        self.assertTrue(self.running.done())

    async def test_what_the_agent_would_refuse_at_each_session_is_refused_at_once(self):
        await self.launched()
        self.executor.may_go_on.set()
        agent = self.executor.agent
        with self.assertRaises(ProfferError) as refused:
            agent.update("t", v1.TASK_STATE_LOST)
        self.assertEqual(refused.exception.field, "state")
        for say, most in (
            (agent.message, 64 * 1024),
            (lambda data: agent.update("t", v1.TASK_STATE_RUNNING, data=data), 1024 * 1024 + 64 * 1024),
        ):
            with self.assertRaises(ProfferError) as refused:
                say(b"x" * (most + 1))
            self.assertEqual(refused.exception.code, "field.too_long")
        agent.update("t", v1.TASK_STATE_RUNNING, "ä" * 64 * 1024)
        told = [(await self.call()).update for _ in range(2)]
        self.assertEqual(max(len(status.message.encode()) for status in told), 64 * 1024)

    async def test_one_whose_words_the_agent_cannot_read_ends(self):
        await self.session()
        await self.tell(closed=v1.Problem(code="field.invalid", kind=v1.PROBLEM_KIND_INVALID, message="what is that"))
        with self.assertRaises(ProfferError):
            await asyncio.wait_for(self.running, PATIENCE)

    # They are not this executor's.
    test_what_is_not_acknowledged_is_said_again_after_a_break = None
    test_one_that_the_agent_has_replaced_ends = None


class Place(unittest.IsolatedAsyncioTestCase):
    async def test_without_an_agent_it_says_what_is_missing(self):
        with mock.patch.dict(os.environ, clear=True), self.assertRaises(ProfferError) as refused:
            await executor.run_executor(executor.Executor())
        self.assertEqual(refused.exception.field, "PROFFER_EXECUTOR_SOCKET")
