"""Slips of authors are told at once: a handler that is none, one text for several, what is no message of the kind."""

import asyncio
import logging
import os
import tempfile
import unittest
from pathlib import Path
from unittest import mock

import grpc

import proffer
import proffer.executor
from proffer import v1
from proffer.testing import FakeMaster


class Misnamed(proffer.Scheduler):
    async def on_offer(self, framework, offers):
        pass


class Plain(proffer.Scheduler):
    def on_offers(self, framework, offers):
        pass


class Short(proffer.Scheduler):
    """Its handler would do, but nobody can tell."""

    on_offers = lambda self, framework, offers: framework.decline(offers)  # noqa: E731


class Wrapped(proffer.Scheduler):
    """What it answers with cannot be told beforehand."""

    async def on_subscribed(self, framework):
        await framework.teardown()

    on_update = mock.AsyncMock()


class MisnamedExecutor(proffer.executor.Executor):
    async def on_kil(self, agent, task_id, grace):
        pass


class Checks(unittest.IsolatedAsyncioTestCase):
    def refused(self, raised, field, *words):
        problem = raised.exception
        self.assertEqual((problem.code, problem.field), ("field.invalid", field), problem)
        for word in words:
            self.assertIn(word, str(problem))

    async def test_a_handler_that_is_none_is_refused_at_the_start(self):
        for author, words in [
            (Misnamed(), ("Misnamed.on_offer ", "on_offers")),
            (Plain(), ("Plain.on_offers is no async def", "write async def on_offers")),
            (Short(), ("Short.on_offers is no async def", "write async def on_offers")),
            (Wrapped, ("Wrapped is a class", "Wrapped(")),
        ]:
            with self.assertRaises(proffer.ProfferError) as raised:
                await asyncio.wait_for(proffer.Framework("127.0.0.1:1", "x", token="0" * 64).run(author), 10)
            self.refused(raised, "scheduler", *words)
        with self.assertRaises(proffer.ProfferError) as raised:
            await asyncio.wait_for(proffer.executor.run_executor(MisnamedExecutor()), 10)
        self.refused(raised, "executor", "on_kill")
        async with FakeMaster() as master:
            running = asyncio.create_task(master.framework("x").run(Wrapped()))
            await (await master.session()).finish()
            await running

    async def test_one_text_is_not_taken_for_its_characters(self):
        framework = proffer.Framework("127.0.0.1:1", "x", ["eng"])
        for field, call in [
            ("roles", lambda: proffer.Framework("127.0.0.1:1", "x", "eng")),
            ("roles", lambda: proffer.Framework("127.0.0.1:1", "x", [b"eng"])),
            ("roles", lambda: framework.update(name="y", roles="eng")),
            ("task_ids", lambda: framework.settle("abc")),
            ("task_ids", lambda: framework.settle(b"abc")),
            ("count", lambda: proffer.demand("work", -1, "cpus:1")),
        ]:
            with self.assertRaises(proffer.ProfferError, msg=field) as raised:
                call()
            self.refused(raised, field)
        # Of an update that is refused nothing is done.
        self.assertEqual((framework._subscribe.name, list(framework._subscribe.roles)), ("x", ["eng"]))

    async def test_what_is_no_message_of_the_kind_is_refused_before_it_is_sent(self):
        framework = proffer.Framework("127.0.0.1:1", "x", token="0" * 64)
        offer, task = v1.Offer(id="o"), proffer.shell_task("t", "true", "cpus:1")
        for field, call, word in [
            ("operations", framework.accept([offer], [task]), "Operation(launch=task)"),
            ("tasks", framework.launch([offer], [v1.Operation(launch=task)]), "Operation is no TaskSpec"),
            ("tasks", framework.launch([offer], task), "give a list"),
            ("offers", framework.launch(["o"], [task]), "a str is no Offer"),
            ("offers", framework.decline(offer), "give a list"),
        ]:
            with self.assertRaises(proffer.ProfferError, msg=field) as raised:
                await call
            self.refused(raised, field, word)

    async def test_an_id_that_is_being_settled_is_refused_as_that(self):
        framework = proffer.Framework("127.0.0.1:1", "x", framework_id="f", token="0" * 64)
        self.assertEqual(framework.settle(["t"]), set())
        with self.assertRaises(proffer.ProfferError) as raised:
            await framework.accept([], [v1.Operation(launch=proffer.shell_task("t", "true", "cpus:1"))])
        self.assertEqual(raised.exception.code, "task.duplicate")
        self.assertIn("t is being settled", raised.exception.message)


class Refusing(v1.SchedulerServicer):
    """A master that wants a token, for which there is none."""

    async def Session(self, _, context):
        await context.abort(grpc.StatusCode.UNAUTHENTICATED, "the call has no token")


class Lossy:
    """A stream of which gRPC loses what the master has said, as when a write fails first."""

    lost = 0

    def __init__(self, stream):
        self.write, self.stream = stream.write, stream

    async def read(self):
        Lossy.lost -= 1
        if Lossy.lost < 0:
            return await self.stream.read()
        raise grpc.aio.AioRpcError(grpc.StatusCode.INTERNAL, grpc.aio.Metadata(), grpc.aio.Metadata(), "Internal error from Core")


class Tokens(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self):
        server = grpc.aio.server()
        v1.add_SchedulerServicer_to_server(Refusing(), server)
        self.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        await server.start()
        self.addAsyncCleanup(server.stop, None)
        stub = v1.SchedulerStub

        self.asked = []

        def lossy(channel):
            self.asked.append(channel)
            return mock.Mock(Session=lambda metadata: Lossy(stub(channel).Session(metadata=metadata)))

        patched = mock.patch.object(v1, "SchedulerStub", lossy)
        patched.start()
        self.addCleanup(patched.stop)

    async def test_what_is_wrong_with_the_token_is_said_also_where_grpc_loses_the_refusal(self):
        said = asyncio.Queue()
        with tempfile.TemporaryDirectory() as folder, mock.patch("proffer.framework.log.log", lambda *said_: said.put_nowait(said_)):
            Path(folder, "bad").write_text("bad")
            for lost in (0, 3, 1_000):
                for file, code in [("bad", "config.invalid"), ("none", "auth.missing")]:
                    Lossy.lost = lost
                    with mock.patch.dict(os.environ, PROFFER_TOKEN_FILE=f"{folder}/{file}"):
                        running = asyncio.create_task(proffer.Framework(self.address, "x").run(proffer.Scheduler()))
                        level, _, problem = await asyncio.wait_for(said.get(), 10)
                        running.cancel()
                        await asyncio.gather(running, return_exceptions=True)
                    self.assertEqual((level, problem.code), (logging.WARNING, code))
                    self.assertIn(f"{folder}/{file}", problem.message)

    async def test_a_refusal_that_grpc_loses_is_asked_for_again(self):
        Lossy.lost = 3
        with self.assertRaises(proffer.ProfferError) as raised:
            await asyncio.wait_for(proffer.Framework(self.address, "x", token="0" * 64).run(proffer.Scheduler()), 10)
        self.assertEqual(raised.exception.code, "auth.missing")
        # Not by a session after the other.
        self.assertEqual(self.asked, [self.asked[0]] * 4)


if __name__ == "__main__":
    unittest.main()
