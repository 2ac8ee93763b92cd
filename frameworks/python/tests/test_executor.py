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
        self.agent, self.server = FakeAgent(), grpc.aio.server()
        v1.add_ExecutorServicer_to_server(self.agent, self.server)
        self.server.add_insecure_port(f"unix:{socket}")
        await self.server.start()
        self.addAsyncCleanup(self.server.stop, None)
        place = {"PROFFER_EXECUTOR_SOCKET": socket, "PROFFER_EXECUTOR_TOKEN": "secret"}
        self.enterContext(mock.patch.dict(os.environ, place))
        spec = importlib.util.spec_from_file_location("executor_example", EXAMPLE)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        self.running = asyncio.create_task(executor.run_executor(module.Shells()))
        self.addAsyncCleanup(self.stop)

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


class Place(unittest.IsolatedAsyncioTestCase):
    async def test_without_an_agent_it_says_what_is_missing(self):
        with mock.patch.dict(os.environ, clear=True), self.assertRaises(ProfferError) as refused:
            await executor.run_executor(executor.Executor())
        self.assertEqual(refused.exception.field, "PROFFER_EXECUTOR_SOCKET")
