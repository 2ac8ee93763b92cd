"""The driver against a master that is played: epochs, acknowledgements, answers, leaders, what is done again."""

import asyncio
import gc
import tempfile
import unittest
from collections import deque
from pathlib import Path
from unittest import mock

import grpc

import proffer
from proffer import v1

RUNNING, FINISHED, LOST = v1.TASK_STATE_RUNNING, v1.TASK_STATE_FINISHED, v1.TASK_STATE_LOST


class Master(v1.SchedulerServicer):
    """Each session of a framework is played by the next of the scripts: coroutines of a `Played` session."""

    def __init__(self, *scripts):
        self.scripts = deque(scripts)
        self.faults = []
        self.leader = ""

    async def start(self):
        self.server = grpc.aio.server()
        v1.add_SchedulerServicer_to_server(self, self.server)
        self.address = f"127.0.0.1:{self.server.add_insecure_port('127.0.0.1:0')}"
        await self.server.start()
        return self

    async def Session(self, _, context):
        if self.leader:
            metadata = (("proffer-leader", self.leader),)
            await context.abort(grpc.StatusCode.UNAVAILABLE, "standing by", metadata)
        try:
            await self.scripts.popleft()(Played(context))
        except (AssertionError, IndexError) as fault:
            self.faults.append(fault)
            raise


class Played:
    def __init__(self, context):
        self.context = context
        self.sequence = 0
        self.epoch = 1

    async def call(self, kind):
        """The next call of a kind; those before it are answered with Done."""
        while True:
            call = await self.context.read()
            if call.WhichOneof("call") == kind:
                return call
            if not call.HasField("acknowledge"):
                await self.send(answered=v1.Answered(request_id=call.request_id, done=v1.Done()))

    async def send(self, **event):
        self.sequence += 1
        await self.context.write(v1.SessionEvent(sequence=self.sequence, epoch=self.epoch, **event))

    async def subscribe(self, epoch=1):
        self.epoch = epoch
        call = await self.call("subscribe")
        await self.send(subscribed=v1.Subscribed(framework_id="f", cluster_id="c", heartbeat_interval_ms=1000))
        await self.send(snapshot_ended=v1.SnapshotEnded())
        return call.subscribe

    async def offer(self):
        await self.send(offered=v1.Offered(offers=[v1.Offer(id="o", fits=[v1.Fit(count=1)])]))

    async def tell(self, state, incarnation=1, number=1):
        await self.send(updated=v1.Status(task_id="t", state=state, incarnation=incarnation, number=number))

    async def finish(self):
        call = await self.call("teardown")
        await self.send(answered=v1.Answered(request_id=call.request_id, done=v1.Done()))
        await self.send(closed=v1.Problem(code="framework.completed", kind=v1.PROBLEM_KIND_CONFLICT))


class Author(proffer.Scheduler):
    """Launches `t` at every offer and writes down what happens; ends when told that it has ended."""

    def __init__(self):
        self.heard = []

    async def on_offers(self, framework, offers):
        refused = await framework.launch(offers, [proffer.shell_task("t", "true", "cpus:1")])
        self.heard.append(("launched", [problem.code for problem in refused.values()]))

    async def on_update(self, framework, status):
        self.heard.append((proffer.state_name(status.state), status.incarnation))
        if status.state == FINISHED:
            await framework.teardown()


class Killer(Author):
    """Ends a task in its first session."""

    def __init__(self, task_id):
        super().__init__()
        self.task_id = task_id

    async def on_subscribed(self, framework):
        if not self.heard:
            await framework.kill(self.task_id)
            self.heard.append("goes on")


async def kill_heard(played):
    """A session that ends when a kill has come, without an answer."""
    await played.subscribe()
    await played.call("kill")


class Driver(unittest.IsolatedAsyncioTestCase):
    async def play(self, *masters, author=None, **options):
        author = author or Author()
        started = [await master.start() for master in masters]
        unheard = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: unheard.append(context))
        framework = proffer.Framework([master.address for master in started], "test", token="0" * 64, **options)
        try:
            await asyncio.wait_for(framework.run(author), 20)
        finally:
            for master in started:
                await master.server.stop(None)
        gc.collect()
        self.assertEqual(unheard, [], "no task fails unheard")
        for master in started:
            self.assertEqual(master.faults, [])
            self.assertFalse(master.scripts, "every session came")
        return author.heard

    async def test_a_status_is_acknowledged_after_its_handler_and_comes_again_if_that_failed(self):
        order = []
        is_heard = asyncio.Event()

        class Slow(Author):
            async def on_update(self, framework, status):
                await asyncio.sleep(0.05)
                if status.number == 2:
                    await is_heard.wait()
                order.append(f"handled {status.number}")
                if order.count("handled 2") == 1 and status.number == 2:
                    raise proffer.Unreachable("the database of the test")
                await super().on_update(framework, status)

        async def first(played):
            await played.subscribe()
            for number in (1, 2, 3):
                await played.tell(RUNNING, 1, number)
            await played.call("acknowledge")
            acknowledged = (await played.call("acknowledge")).acknowledge.sequence
            order.append(f"acknowledged {acknowledged - 2}")
            is_heard.set()
            self.assertIs(await played.context.read(), grpc.aio.EOF, "nothing later is acknowledged")

        async def second(played):
            self.assertEqual((await played.subscribe()).framework_id, "f")
            await played.call("acknowledge")
            for number in (2, 3):
                await played.tell(RUNNING, 1, number)
                await played.call("acknowledge")
                order.append(f"acknowledged {number}")
            await played.tell(FINISHED, 1, 4)
            await played.finish()

        await self.play(Master(first, second), author=Slow())
        steps = ["handled 1", "acknowledged 1", "handled 2", "handled 2", "acknowledged 2", "handled 3", "acknowledged 3", "handled 4"]
        self.assertEqual(order, steps)

    async def test_what_may_be_done_twice_is_called_again_in_the_next_session(self):
        heard, requests = [], {}

        class Killer(Author):
            async def on_subscribed(self, framework):
                if not heard:
                    heard.append("begun")
                    self.beside = [asyncio.create_task(call) for call in self.calls(framework)]

            async def on_snapshot_ended(self, framework):
                if heard == ["begun"]:
                    await framework.kill("of a handler")
                    heard.append("the handler goes on")

            def calls(self, framework):
                yield framework.kill("of a task", 1)
                yield framework.update_task("of a task", {"a": "b"})
                yield framework.kill("t")
                yield framework.accept([], [v1.Operation(launch=proffer.shell_task("t", "true", "cpus:1"))])
                yield framework.send_message("a", "e", b"at most once")

        async def first(played):
            await played.subscribe()
            for _ in range(6):
                call = await played.context.read()
                requests[call.request_id] = call

        async def second(played):
            await played.subscribe(epoch=2)
            again = [await played.context.read() for _ in range(3)]
            self.assertEqual({call.kill.task_id or call.update_task.task_id for call in again}, {"of a handler", "of a task"})
            for call in again:
                before = requests[call.request_id]
                self.assertEqual((before.epoch, call.epoch), (1, 2), "each is meant for the term that it is called in")
                before.epoch = call.epoch
                self.assertEqual(before, call)
                answer = {"done": v1.Done()}
                if call.HasField("update_task"):
                    answer = {"refused": v1.Problem(code="task.unknown", kind=v1.PROBLEM_KIND_NOT_FOUND)}
                await played.send(answered=v1.Answered(request_id=call.request_id, **answer))
            await played.call("reconcile")
            await played.tell(FINISHED, 1, 1)
            await played.finish()

        author = Killer()
        await self.play(Master(first, second), author=author)
        self.assertEqual(heard, ["begun", "the handler goes on"])
        results = await asyncio.gather(*author.beside, return_exceptions=True)
        # The kill of `t` might have hit the launch that was called after it.
        unreachable = [proffer.Unreachable] * 3
        # What a handler has begun and left behind hears the answer of the next session.
        self.assertEqual([type(result) for result in results], [type(None), proffer.ProfferError, *unreachable])

    async def test_a_handler_that_calls_several_at_once_does_not_hold_up_the_next_session(self):
        class Killer(Author):
            async def on_subscribed(self, framework):
                if not self.heard:
                    await asyncio.gather(framework.kill("a"), framework.kill("b"))
                    self.heard.append("goes on")

        async def kills(played):
            calls = [await played.call("kill") for _ in range(2)]
            return {call.kill.task_id: call.request_id for call in calls}

        async def first(played):
            await played.subscribe()
            await kills(played)

        async def second(played):
            await played.subscribe()
            requests = await kills(played)
            problem = v1.Problem(code="session.rate_limited", kind=v1.PROBLEM_KIND_EXHAUSTED, retry_after_ms=10)
            await played.send(answered=v1.Answered(request_id=requests["a"], refused=problem))
            call = await played.call("kill")
            self.assertEqual(call.kill.task_id, "a", "it was not done")
            self.assertEqual(call.request_id, requests["a"])
            await played.tell(FINISHED, 1, 1)
            await played.finish()

        heard = await self.play(Master(first, second), author=Killer())
        self.assertEqual(heard, ["goes on", ("finished", 1)])

    async def test_states_and_reasons_of_a_later_version_are_told_as_they_are_and_end_nothing(self):
        async def first(played):
            # Without anything in it: an event of a kind that is not known, also before the session has begun.
            await played.send()
            await played.subscribe()
            await played.send()
            await played.send(updated=v1.Status(task_id="t", state=224, reason=99, incarnation=1, number=1))
            await played.tell(FINISHED, 1, 2)
            await played.finish()

        heard = await self.play(Master(first))
        self.assertEqual(heard, [("224", 1), ("finished", 1)])

    async def test_an_end_of_a_later_version_is_an_end(self):
        class Ender(Author):
            async def on_update(self, framework, status):
                await super().on_update(framework, status)
                if proffer.is_terminal(status.state):
                    self.heard.append(sorted(framework.settle(["t"])))
                    await framework.teardown()

        async def first(played):
            await played.subscribe()
            await played.tell(RUNNING, 1, 1)
            await played.tell(600, 1, 2)
            await played.finish()

        heard = await self.play(Master(first), author=Ender())
        self.assertEqual(heard, [("running", 1), ("600", 1), ["t"]])

    async def test_times_that_are_none_are_refused_before_they_are_sent(self):
        class Wrong(Author):
            async def on_subscribed(self, framework):
                calls = [framework.kill("t", grace=-1), framework.decline([], exclude_for=float("inf"))]
                calls += [framework.update_task("t", kill_grace=-0.1), framework.state.put("k", b"", expected_version=-1)]
                for call in calls:
                    try:
                        await call
                    except proffer.ProfferError as problem:
                        self.heard.append((problem.code, problem.field, bool(problem.hint)))

        async def first(played):
            await played.subscribe()
            await played.tell(FINISHED, 1, 2)
            await played.finish()

        heard = await self.play(Master(first), author=Wrong())
        fields = ["grace", "exclude_for", "kill_grace", "expected_version"]
        self.assertEqual(heard, [("field.invalid", field, True) for field in fields] + [("finished", 1)])

    async def test_values_that_are_too_long_are_refused_before_they_are_sent(self):
        class Wrong(Author):
            async def on_subscribed(self, framework):
                try:
                    await framework.state.put("k", bytes(256 * 1024 + 1))
                except proffer.ProfferError as problem:
                    self.heard.append((problem.code, problem.field, problem.kind, "262145" in problem.message))

        async def first(played):
            await played.subscribe()
            await played.tell(FINISHED, 1, 2)
            await played.finish()

        heard = await self.play(Master(first), author=Wrong())
        self.assertEqual(heard, [("state.too_large", "value", v1.PROBLEM_KIND_EXHAUSTED, True), ("finished", 1)])

    async def test_what_is_above_the_rate_when_it_is_called_again_is_not_lost_with_the_session(self):
        async def second(played):
            await played.subscribe()
            call = await played.call("kill")
            problem = v1.Problem(code="session.rate_limited", kind=v1.PROBLEM_KIND_EXHAUSTED, retry_after_ms=60_000)
            await played.send(answered=v1.Answered(request_id=call.request_id, refused=problem))
            await played.tell(RUNNING, 1, 1)
            await played.call("acknowledge")
            await played.call("acknowledge")

        async def third(played):
            await played.subscribe(epoch=2)
            self.assertEqual((await played.call("kill")).kill.task_id, "a")
            await played.tell(FINISHED, 1, 1)
            await played.finish()

        heard = await self.play(Master(kill_heard, second, third), author=Killer("a"))
        self.assertEqual(heard, ["goes on", ("running", 1), ("finished", 1)])

    async def test_what_waits_above_the_rate_when_its_session_ends_is_called_in_the_next(self):
        requests = []

        async def first(played):
            await played.subscribe()
            call = await played.call("kill")
            requests.append(call.request_id)
            problem = v1.Problem(code="session.rate_limited", kind=v1.PROBLEM_KIND_EXHAUSTED, retry_after_ms=20_000)
            await played.send(answered=v1.Answered(request_id=call.request_id, refused=problem))

        async def second(played):
            await played.subscribe(epoch=2)
            call = await played.call("kill")
            requests.append(call.request_id)
            self.assertEqual(call.kill.task_id, "a")
            await played.tell(FINISHED, 1, 1)
            await played.finish()

        heard = await self.play(Master(first, second), author=Killer("a"))
        self.assertEqual(heard, ["goes on", ("finished", 1)])
        self.assertEqual(requests, requests[:1] * 2)

    async def test_what_waits_above_the_rate_hits_nothing_that_was_launched_since_in_later_sessions_either(self):
        class Beside(Author):
            async def on_subscribed(self, framework):
                if not self.heard:
                    self.heard.append("begun")
                    calls = [framework.kill("t"), framework.update_task("t", {}), framework.kill("other"), framework.kill("t")]
                    calls.append(framework.shutdown_executor("a", "e"))
                    self.beside = [asyncio.create_task(call) for call in calls]

        def refused(call, wait_ms):
            problem = v1.Problem(code="session.rate_limited", kind=v1.PROBLEM_KIND_EXHAUSTED, retry_after_ms=wait_ms)
            return v1.Answered(request_id=call.request_id, refused=problem)

        async def first(played):
            await played.subscribe()
            calls = []
            while len(calls) < 5:
                call = await played.context.read()
                calls += [] if call.HasField("acknowledge") else [call]
            await played.send(answered=refused(calls.pop(), 20_000))
            await played.send(answered=refused(calls.pop(), 20_000))
            await played.offer()
            accept = await played.call("accept")
            result = v1.OperationResult(launched=v1.LaunchResult(task_id="t", incarnation=1))
            await played.send(answered=v1.Answered(request_id=accept.request_id, accepted=v1.Accepted(results=[result])))
            for call in calls:
                await played.send(answered=refused(call, 0))
            while (call := await played.context.read()).HasField("acknowledge"):
                pass
            self.assertEqual(call.kill.task_id, "other", "what hits nothing that was launched")
            await played.send(answered=v1.Answered(request_id=call.request_id, done=v1.Done()))
            await played.tell(RUNNING, 1, 1)
            while (call := await played.context.read()).acknowledge.sequence < played.sequence:
                self.assertTrue(call.HasField("acknowledge"), call)

        async def second(played):
            await played.subscribe(epoch=2)
            self.assertEqual((await played.context.read()).shutdown_executor.executor_id, "e", "no kill")
            await played.tell(FINISHED, 1, 2)
            await played.finish()

        author = Beside()
        heard = await self.play(Master(first, second), author=author)
        self.assertEqual(heard, ["begun", ("launched", []), ("running", 1), ("finished", 1)])
        results = await asyncio.gather(*author.beside, return_exceptions=True)
        killed, updated, other, kept, shut_down = results
        self.assertEqual((killed, other), (None, None), "the task that was to be killed had ended")
        self.assertEqual(updated.code, "session.rate_limited")
        self.assertIsInstance(kept, proffer.Unreachable)
        self.assertIsInstance(shut_down, (proffer.Unreachable, type(None)))

    async def test_slow_handlers_get_a_long_snapshot_in_one_session_while_the_sdk_waits_for_an_answer(self):
        is_slow = asyncio.Event()

        class Slow(Author):
            async def on_subscribed(self, framework):
                framework.settle({"open"})

            async def on_update(self, framework, status):
                await is_slow.wait()
                if status.task_id == "t":
                    await super().on_update(framework, status)

        async def first(played):
            await played.call("subscribe")
            await played.send(subscribed=v1.Subscribed(framework_id="f", cluster_id="c", heartbeat_interval_ms=1000))
            question = await played.call("reconcile")
            for number in range(2_000):
                status = v1.Status(task_id=str(number), state=RUNNING, incarnation=1, number=1, data=bytes(16 * 1024))
                sending = asyncio.create_task(played.send(updated=status))
                # Whoever reads on for ever has read more than may wait before they stop.
                if not is_slow.is_set() and not (await asyncio.wait({sending}, timeout=0.2))[0]:
                    is_slow.set()
                await sending
            await played.send(snapshot_ended=v1.SnapshotEnded())
            await played.send(answered=v1.Answered(request_id=question.request_id, done=v1.Done()))
            await played.tell(FINISHED, 1, 1)
            await played.finish()

        with mock.patch("proffer.session.BACKLOG_PAUSE", 100), mock.patch("proffer.session.BACKLOG_MAX", 1_000):
            heard = await self.play(Master(first), author=Slow(), framework_id="f", call_timeout=1.0)
        self.assertEqual(heard, [("finished", 1)])

    async def test_it_is_said_that_ids_wait_for_an_agent_that_is_unreachable(self):
        class Settling(Author):
            async def on_subscribed(self, framework):
                framework.settle({"open"})

            async def on_update(self, framework, status):
                if status.task_id == "t":
                    await super().on_update(framework, status)

        async def first(played):
            await played.subscribe()
            question = await played.call("reconcile")
            await played.send(updated=v1.Status(task_id="open", state=v1.TASK_STATE_UNREACHABLE))
            for agent in "ab":
                await played.send(answered=v1.Answered(request_id=question.request_id, done=v1.Done()))
                await played.send(agent_settled=v1.AgentSettled(agent_id=agent))
                question = await played.call("reconcile")
            await played.tell(FINISHED, 1, 1)
            await played.finish()

        with self.assertLogs("proffer", "WARNING") as logs:
            await self.play(Master(first), author=Settling(), framework_id="f")
        warned = [line for line in logs.output if "1 ids wait to be settled" in line]
        self.assertEqual(len(warned), 1, logs.output)

    async def test_what_is_above_the_rate_is_not_called_again_for_what_was_launched_since(self):
        async def second(played):
            await played.subscribe()
            call = await played.call("kill")
            await played.offer()
            accept = await played.call("accept")
            problem = v1.Problem(code="session.rate_limited", kind=v1.PROBLEM_KIND_EXHAUSTED)
            await played.send(answered=v1.Answered(request_id=call.request_id, refused=problem))
            result = v1.OperationResult(launched=v1.LaunchResult(task_id="t", incarnation=1))
            accepted = v1.Accepted(results=[result])
            await played.send(answered=v1.Answered(request_id=accept.request_id, accepted=accepted))
            await played.tell(FINISHED, 1, 1)
            while True:
                call = await played.context.read()
                self.assertNotEqual(call.WhichOneof("call"), "kill")
                if call.HasField("teardown"):
                    break
            await played.send(answered=v1.Answered(request_id=call.request_id, done=v1.Done()))
            await played.send(closed=v1.Problem(code="framework.completed", kind=v1.PROBLEM_KIND_CONFLICT))

        heard = await self.play(Master(kill_heard, second), author=Killer("t"))
        self.assertEqual(heard, ["goes on", ("launched", []), ("finished", 1)])

    async def test_however_many_calls_wait_for_a_long_accept_the_session_goes_on(self):
        count = 1_000

        class Beside(Author):
            async def on_subscribed(self, framework):
                tasks = [proffer.shell_task(str(number), "true", "cpus:1") for number in range(5 * count)]
                calls = [framework.kill(task.id) for task in tasks[:count]] + [framework.launch([], tasks)]
                self.beside = [asyncio.create_task(call) for call in calls]

        async def script(played):
            await played.subscribe()
            kills = [await played.context.read() for _ in range(count)]
            await played.call("accept")
            for call in kills:
                problem = v1.Problem(code="session.rate_limited", kind=v1.PROBLEM_KIND_EXHAUSTED)
                await played.send(answered=v1.Answered(request_id=call.request_id, refused=problem))
            for number in range(10):
                await played.tell(RUNNING, 1, number + 1)
                await played.call("acknowledge")
            await played.tell(FINISHED, 1, 20)
            await played.finish()

        author = Beside()
        heard = await self.play(Master(script), author=author)
        self.assertEqual(heard[-1], ("finished", 1))
        await asyncio.gather(*author.beside, return_exceptions=True)

    async def test_what_was_called_before_another_program_was_active_is_not_called_again(self):
        class Killer(Author):
            async def on_subscribed(self, framework):
                if self.heard:
                    await framework.teardown()
                else:
                    self.heard.append("killed")
                    await framework.kill("t")

        async def first(played):
            await played.subscribe()
            await played.call("kill")

        async def second(played):
            await played.call("subscribe")
            await played.send(standing_by=v1.StandingBy(heartbeat_interval_ms=1000))
            await played.send(subscribed=v1.Subscribed(framework_id="f", cluster_id="c", heartbeat_interval_ms=1000))
            call = await played.context.read()
            self.assertEqual(call.WhichOneof("call"), "teardown")
            await played.send(answered=v1.Answered(request_id=call.request_id, done=v1.Done()))
            await played.send(closed=v1.Problem(code="framework.completed", kind=v1.PROBLEM_KIND_CONFLICT))

        await self.play(Master(first, second), author=Killer(), framework_id="f", stand_by=True)

    async def test_what_was_called_before_a_session_that_cannot_be_resumed_is_not_called_again(self):
        class Killer(Author):
            async def on_update(self, framework, status):
                if status.state == RUNNING:
                    await framework.kill("t")
                await super().on_update(framework, status)

        async def first(played):
            await played.subscribe()
            await played.tell(RUNNING, 1, 1)
            await played.call("kill")

        async def second(played):
            self.assertEqual((await played.subscribe()).resume.sequence, 3)
            await played.tell(FINISHED, 1, 2)
            while not (call := await played.context.read()).HasField("teardown"):
                self.assertNotEqual(call.WhichOneof("call"), "kill", "another program may have launched it anew")
                if not call.HasField("acknowledge"):
                    await played.send(answered=v1.Answered(request_id=call.request_id, done=v1.Done()))
            await played.send(answered=v1.Answered(request_id=call.request_id, done=v1.Done()))
            await played.send(closed=v1.Problem(code="framework.completed", kind=v1.PROBLEM_KIND_CONFLICT))

        with self.assertLogs("proffer", "WARNING") as logs:
            await self.play(Master(first, second), author=Killer())
        self.assertTrue(any("kill was called in a handler" in line for line in logs.output), logs.output)

    async def test_a_master_that_is_subscribed_to_too_often_is_tried_again_when_it_says(self):
        times = []

        async def first(played):
            await played.call("subscribe")
            times.append(asyncio.get_running_loop().time())
            problem = v1.Problem(code="session.rate_limited", kind=v1.PROBLEM_KIND_EXHAUSTED, retry_after_ms=700)
            await played.send(closed=problem)

        async def second(played):
            await played.subscribe()
            times.append(asyncio.get_running_loop().time())
            await played.tell(FINISHED, 1, 1)
            await played.finish()

        await self.play(Master(first, second))
        self.assertGreaterEqual(times[1] - times[0], 0.69)

    async def test_the_id_is_forgotten_when_the_answer_to_a_teardown_was_lost(self):
        class Leaver(Author):
            async def on_subscribed(self, framework):
                await framework.teardown()

        async def first(played):
            await played.subscribe()
            await played.call("teardown")

        async def second(played):
            await played.call("subscribe")
            await played.send(closed=v1.Problem(code="framework.completed", kind=v1.PROBLEM_KIND_CONFLICT))

        with tempfile.TemporaryDirectory() as place:
            file = Path(place) / "id"
            await self.play(Master(first, second), author=Leaver(), id_file=file)
            self.assertFalse(file.exists(), "the next start would be refused")

    async def test_a_launch_without_an_answer_is_not_repeated_before_its_fate_is_told(self):
        async def first(played):
            await played.subscribe()
            await played.offer()
            await played.call("accept")

        async def second(played):
            await played.subscribe()
            await played.offer()
            while list((await played.call("reconcile")).reconcile.task_ids) != ["t"]:
                pass
            await played.tell(LOST, 0, 0)
            await played.offer()
            call = await played.call("accept")
            launched = v1.OperationResult(launched=v1.LaunchResult(task_id="t", incarnation=2))
            accepted = v1.Accepted(results=[launched])
            await played.send(answered=v1.Answered(request_id=call.request_id, accepted=accepted))
            await played.tell(LOST, 0, 0)
            await played.tell(FINISHED, 2, 1)
            await played.finish()

        heard = await self.play(Master(first, second))
        again = ("launched", ["task.duplicate"])
        self.assertEqual(heard, [again, ("lost", 0), ("launched", []), ("finished", 2)])

    async def test_a_call_says_which_term_it_is_meant_for(self):
        async def script(played):
            await played.subscribe(epoch=7)
            await played.tell(FINISHED, 1, 1)
            call = await played.call("teardown")
            self.assertEqual(call.epoch, 7)
            await played.send(answered=v1.Answered(request_id=call.request_id, done=v1.Done()))
            call = await played.call("acknowledge")
            self.assertFalse(call.HasField("epoch"), "what is acknowledged is known by its sequence")
            await played.send(closed=v1.Problem(code="framework.completed", kind=v1.PROBLEM_KIND_CONFLICT))

        await self.play(Master(script))

    async def test_an_earlier_epoch_is_refused_and_the_leader_is_found(self):
        async def first(played):
            await played.subscribe(epoch=7)

        async def stale(played):
            await played.subscribe(epoch=6)
            await played.tell(RUNNING, 9)

        async def last(played):
            await played.subscribe(epoch=8)
            await played.tell(FINISHED)
            await played.finish()

        leading = Master(first, stale, last)
        standby = Master()
        await leading.start()
        standby.leader = leading.address
        self.addAsyncCleanup(leading.server.stop, None)
        self.assertEqual(await self.play(standby), [("finished", 1)])
        self.assertFalse(leading.scripts)

    async def test_demands_are_said_again_with_growing_generations(self):
        seen = []

        class Wanting(Author):
            async def on_subscribed(self, framework):
                if not seen:
                    await framework.set_demand("*", proffer.demand("work", 1, "cpus:1"))
                    await framework.set_demand("*", proffer.demand("work", 2, "cpus:1"))

        async def session(played):
            await played.subscribe()
            for _ in range(1 if seen else 2):
                call = await played.call("set_demand")
                seen.append((call.set_demand.generation, call.set_demand.entries[0].count))
                await played.send(answered=v1.Answered(request_id=call.request_id, done=v1.Done()))

        async def last(played):
            await session(played)
            await played.tell(FINISHED)
            await played.finish()

        await self.play(Master(session, last), author=Wanting())
        self.assertEqual(seen, [(1, 1), (2, 2), (3, 2)])

    async def test_what_a_new_session_refuses_for_the_moment_is_said_again_until_it_is_taken(self):
        seen = []
        refusals = [
            ("session.rate_limited", v1.PROBLEM_KIND_EXHAUSTED),
            ("server.overloaded", v1.PROBLEM_KIND_EXHAUSTED),
            ("master.not_leading", v1.PROBLEM_KIND_UNAVAILABLE),
            ("generation.stale", v1.PROBLEM_KIND_CONFLICT),
        ]

        class Wanting(Author):
            async def on_subscribed(self, framework):
                if not seen:
                    await framework.set_demand("*", proffer.demand("work", 3, "cpus:1"))

        async def wanted(played):
            call = await played.call("set_demand")
            seen.append((call.set_demand.generation, call.set_demand.entries[0].count))
            return call.request_id

        async def done(played):
            await played.send(answered=v1.Answered(request_id=await wanted(played), done=v1.Done()))

        async def first(played):
            await played.subscribe()
            await done(played)

        async def last(played):
            await played.subscribe()
            for code, kind in refusals:
                refused = v1.Problem(code=code, kind=kind, message="not now", retry_after_ms=1)
                await played.send(answered=v1.Answered(request_id=await wanted(played), refused=refused))
            await done(played)
            await played.tell(FINISHED)
            await played.finish()

        await self.play(Master(first, last), author=Wanting())
        self.assertEqual([count for _, count in seen], [3] * 6)
        generations = [generation for generation, _ in seen]
        # What was only above the rate is the same call again.
        self.assertEqual(generations, [1, 2, 2, 3, 4, 5])

    async def test_refusals_for_good_are_raised_with_their_code(self):
        async def fenced(played):
            await played.subscribe()
            problem = v1.Problem(code="session.fenced", kind=v1.PROBLEM_KIND_CONFLICT, message="taken over", hint="stop")
            await played.send(closed=problem)

        async def other_cluster(played):
            await played.call("subscribe")
            await played.send(subscribed=v1.Subscribed(framework_id="f", cluster_id="other", heartbeat_interval_ms=1000))

        async def brief(played):
            await played.subscribe()

        for scripts, code in [([fenced], "session.fenced"), ([brief, other_cluster], "framework.unknown")]:
            with self.assertRaises(proffer.ProfferError) as raised:
                await self.play(Master(*scripts))
            self.assertEqual(raised.exception.code, code)

    async def test_a_silent_master_is_left(self):
        async def silent(played):
            await played.call("subscribe")
            await played.send(subscribed=v1.Subscribed(framework_id="f", cluster_id="c", heartbeat_interval_ms=100))
            await played.context.read()
            await asyncio.Event().wait()

        async def last(played):
            await played.subscribe()
            await played.tell(FINISHED)
            await played.finish()

        self.assertEqual(await self.play(Master(silent, last)), [("finished", 1)])


if __name__ == "__main__":
    unittest.main()
