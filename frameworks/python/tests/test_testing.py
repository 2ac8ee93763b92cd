"""What authors use for their own tests, and with it what sessions do that stand by, resume, and are told to slow down."""

import asyncio
import unittest
from unittest import mock

import proffer
from proffer import v1
from proffer.testing import FakeMaster

RUNNING, FINISHED, LOST = v1.TASK_STATE_RUNNING, v1.TASK_STATE_FINISHED, v1.TASK_STATE_LOST


class Writer(proffer.Scheduler):
    """Launches `t` once and writes down what it is told."""

    def __init__(self):
        self.told = []

    async def on_standing_by(self, framework):
        self.told.append("standing by")

    async def on_subscribed(self, framework):
        self.told.append("subscribed")

    async def on_snapshot_ended(self, framework):
        self.told.append("snapshot")

    async def on_offers(self, framework, offers):
        self.zones = [(offer.domain.region, offer.domain.zone) for offer in offers if offer.HasField("domain")]
        await framework.launch(offers, [proffer.shell_task("t", "true", "cpus:1")])

    async def on_update(self, framework, status):
        self.told.append(proffer.state_name(status.state))
        if status.state == FINISHED:
            await framework.teardown()

    async def on_reclaim(self, framework, reclaim):
        self.told.append(("reclaim", list(reclaim.task_ids)))
        await framework.kill(reclaim.task_ids[0])

    async def on_message(self, framework, message):
        self.told.append(message.data)
        await framework.send_message(message.agent_id, message.executor_id, b"back")

    async def on_executor_ended(self, framework, ended):
        self.told.append(ended.message)


class Sessions(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self):
        self.master = await self.enterAsyncContext(FakeMaster())
        self.author = Writer()

    def run_framework(self, author=None, **options):
        self.framework = self.master.framework("test", **options)
        running = asyncio.create_task(self.framework.run(author or self.author))
        self.addAsyncCleanup(self.stop, running)
        return running

    async def stop(self, running):
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    async def finish(self, session, running):
        await session.tell("t", FINISHED)
        await session.finish()
        await self.master.within(running)

    async def test_a_task_is_launched_and_followed_to_its_end(self):
        running = self.run_framework()
        session = await self.master.session()
        offer = await session.offer("cpus:4;mem:64", domain=v1.FaultDomain(region="eu", zone="a"))
        (task,) = await session.launches()
        self.assertEqual((task.id, offer.agent_id), ("t", "agent-1"))
        self.assertEqual(self.author.zones, [("eu", "a")])
        await session.acknowledged(await session.tell("t", RUNNING))
        await self.finish(session, running)
        self.assertEqual(self.author.told, ["subscribed", "snapshot", "running", "finished"])

    async def test_one_that_stands_by_waits_and_goes_on_under_the_chosen_id(self):
        running = self.run_framework(framework_id="mine", create=True, stand_by=True)
        session = await self.master.opened()
        subscribe = session.subscribe
        self.assertEqual((subscribe.framework_id, subscribe.create, subscribe.stand_by), ("mine", True, True))
        await session.stand_by()
        await session.send(heartbeat=v1.Heartbeat())
        await session.accept()
        await session.send(snapshot_ended=v1.SnapshotEnded())
        await session.call("acknowledge")
        self.assertEqual(self.author.told, ["standing by", "subscribed", "snapshot"])
        # Fenced, it stands by again.
        await session.refuse("session.fenced", v1.PROBLEM_KIND_CONFLICT)
        session = await self.master.opened()
        await session.stand_by()
        await session.accept()
        await self.finish(session, running)

    async def test_one_that_stands_by_ends_when_the_active_one_has_torn_the_framework_down(self):
        running = self.run_framework(framework_id="mine", create=True, stand_by=True)
        session = await self.master.opened()
        await session.stand_by()
        await session.refuse("framework.completed", v1.PROBLEM_KIND_CONFLICT)
        await self.master.within(running)
        self.assertEqual(self.author.told, ["standing by"])

    async def test_an_id_that_is_spent_is_told(self):
        running = self.run_framework(framework_id="mine", create=True)
        await (await self.master.opened()).refuse("framework.completed", v1.PROBLEM_KIND_CONFLICT)
        with self.assertRaises(proffer.ProfferError) as raised:
            await self.master.within(running)
        self.assertEqual(raised.exception.code, "framework.completed")

    async def test_standing_by_needs_an_id(self):
        for options in ({"stand_by": True}, {"create": True}):
            with self.assertRaises(proffer.ProfferError) as raised:
                self.master.framework("test", **options)
            self.assertEqual(raised.exception.field, "framework_id")

    async def test_a_session_resumes_where_the_author_was(self):
        running = self.run_framework()
        session = await self.master.session()
        self.assertFalse(session.subscribe.HasField("resume"))
        await session.offer("cpus:4")
        await session.launches()
        sequence = await session.tell("t", RUNNING)
        await session.acknowledged(sequence)
        session.end()
        session = await self.master.session(is_resumed=True)
        resume = session.subscribe.resume
        self.assertEqual((resume.epoch, resume.sequence), (1, sequence))
        self.assertFalse(self.framework._tasks.open(), "what is resumed is not asked for")
        session.end()
        # Another term: a snapshot, and what it does not tell is asked for by name.
        self.master.epoch = 2
        session = await self.master.session()
        call = await session.call("reconcile")
        self.assertEqual(list(call.reconcile.task_ids), ["t"])
        await session.done(call)
        await session.tell("t", LOST, incarnation=0, number=0)
        await session.offer("cpus:4")
        await session.launches()
        await self.finish(session, running)
        self.assertEqual(self.author.told.count("running"), 1)

    async def test_request_ids_go_on_over_sessions(self):
        self.run_framework()
        seen = set()
        for _ in range(2):
            session = await self.master.session()
            await session.offer("cpus:1")
            call = await session.call("accept")
            self.assertNotIn(call.request_id, seen)
            seen.add(call.request_id)
            session.end()

    async def test_a_call_above_the_rate_is_made_again_when_the_master_says(self):
        running = self.run_framework()
        session = await self.master.session()
        await session.offer("cpus:4")
        call = await session.call("accept")
        begun = asyncio.get_running_loop().time()
        limited = v1.Problem(code="session.rate_limited", kind=v1.PROBLEM_KIND_EXHAUSTED, retry_after_ms=200)
        await session.answer(call, refused=limited)
        (task,) = await session.launches()
        self.assertGreaterEqual(asyncio.get_running_loop().time() - begun, 0.2)
        self.assertEqual(task.id, "t")
        await self.finish(session, running)

    async def test_a_rate_is_told_when_it_would_take_too_long(self):
        refused = asyncio.get_running_loop().create_future()

        class Hasty(Writer):
            async def on_subscribed(self, framework):
                try:
                    await framework.set_demand("*", proffer.demand("work", 1, "cpus:1"))
                except proffer.ProfferError as problem:
                    refused.set_result(problem)

        self.run_framework(Hasty(), call_timeout=1.0)
        session = await self.master.session()
        limited = v1.Problem(code="session.rate_limited", kind=v1.PROBLEM_KIND_EXHAUSTED, retry_after_ms=60_000)
        await session.answer(await session.call("set_demand"), refused=limited)
        problem = await self.master.within(refused)
        self.assertEqual((problem.code, problem.retry_after), ("session.rate_limited", 60))

    async def test_a_fenced_state_ends_the_session_and_what_the_master_says_of_that_decides(self):
        fenced = ("session.fenced", v1.PROBLEM_KIND_CONFLICT)
        for stands_by, closed in [(False, None), (True, None), (True, fenced), (False, fenced)]:
            begun, go_on, heard = asyncio.Event(), asyncio.Event(), asyncio.Queue()

            class Slow(Writer):
                async def on_offers(self, framework, offers):
                    begun.set()
                    await go_on.wait()
                    try:
                        await framework.state.put("kept", b"")
                    except proffer.ProfferError as problem:
                        heard.put_nowait(problem.code)
                        raise

            options = {"framework_id": "mine", "create": True, "stand_by": True} if stands_by else {}
            author = Slow()
            running = self.run_framework(author, **options)
            session = await self.master.session()
            await session.offer("cpus:1")
            await self.master.within(begun.wait())
            # The master has ended it, and the word of it is on its way.
            session.leave_active()
            go_on.set()
            self.assertEqual(await self.master.within(heard.get()), "session.fenced")
            if closed:
                await session.refuse(*closed)
            else:
                session.end()
            if closed and not stands_by:
                with self.assertRaises(proffer.ProfferError) as raised:
                    await self.master.within(running)
                self.assertEqual(raised.exception.code, "session.fenced")
            else:
                await self.finish(await self.master.session(), running)

    async def test_a_session_that_is_fenced_and_does_not_end_is_left(self):
        class Keeping(Writer):
            async def on_message(self, framework, message):
                await framework.state.put("kept", b"")

        running = self.run_framework(Keeping(), call_timeout=1.0)
        session = await self.master.session()
        session.leave_active()
        await session.send(message=v1.ExecutorMessage(agent_id="a", executor_id="e"))
        await session.gone()
        await self.finish(await self.master.session(), running)

    async def test_the_state_is_fenced_when_its_session_has_ended(self):
        is_there = asyncio.Event()

        async def watch(framework):
            async for _ in framework.state.watch():
                is_there.set()

        self.run_framework()
        session = await self.master.session()
        await session.acknowledged(1)
        watching = asyncio.create_task(watch(self.framework))
        await self.master.within(is_there.wait())
        session.leave_active()
        for calling in [watching, self.framework.state.get("a")]:
            with self.assertRaises(proffer.ProfferError) as raised:
                await self.master.within(calling)
            self.assertEqual(raised.exception.code, "session.fenced")
        for end in [session.end, lambda: session.refuse("session.overloaded", v1.PROBLEM_KIND_EXHAUSTED)]:
            ended = end()
            if ended:
                await ended
            self.assertEqual(self.master.state.generation, 0)
            session = await self.master.session()
            self.assertGreater(self.master.state.generation, 0)

    async def test_a_watch_raises_when_the_sdk_leaves_its_session(self):
        is_there = asyncio.Event()

        async def watch(framework):
            async for _ in framework.state.watch():
                is_there.set()

        running = self.run_framework(call_timeout=1.0)
        session = await self.master.session()
        await session.acknowledged(1)
        watching = asyncio.create_task(watch(self.framework))
        await self.master.within(is_there.wait())
        # It is not answered, so the session counts as broken.
        for calling in [self.framework.kill("u"), watching]:
            with self.assertRaises(proffer.Unreachable):
                await self.master.within(calling)
        await self.finish(await self.master.session(), running)

    async def test_a_refused_demand_leaves_what_was_wanted_before(self):
        answers = asyncio.Queue()

        class Wanting(Writer):
            async def on_message(self, framework, message):
                try:
                    await framework.set_demand("*", proffer.demand(message.data.decode(), 1, "cpus:1"))
                    answers.put_nowait("taken")
                except proffer.ProfferError as problem:
                    answers.put_nowait(problem.code)

        self.run_framework(Wanting())
        session = await self.master.session()
        refusals = [("id.invalid", v1.PROBLEM_KIND_INVALID), ("server.overloaded", v1.PROBLEM_KIND_EXHAUSTED)]
        seen = []
        for name, refusal in [("bad", 0), ("good", None), ("bad", 0), ("bad", 1), ("good", None), ("bad", 0)]:
            await session.send(message=v1.ExecutorMessage(agent_id="a", executor_id="e", data=name.encode()))
            call = await session.call("set_demand")
            seen.append(call.set_demand.generation)
            if refusal is None:
                await session.done(call)
            else:
                code, kind = refusals[refusal]
                await session.answer(call, refused=v1.Problem(code=code, kind=kind))
            self.assertEqual(await self.master.within(answers.get()), "taken" if refusal is None else refusals[refusal][0])
        session.end()
        session = await self.master.session()
        call = await session.call("set_demand")
        seen.append(call.set_demand.generation)
        self.assertEqual(call.set_demand.entries[0].id, "good")
        self.assertEqual(seen, sorted(set(seen)), "each is newer than the one before")

    async def test_a_demand_that_the_next_session_refuses_leaves_what_was_wanted_before(self):
        running = self.run_framework()
        session = await self.master.session()
        setting = asyncio.create_task(self.framework.set_demand("*", proffer.demand("good", 1, "cpus:1")))
        await session.done(await session.call("set_demand"))
        await self.master.within(setting)
        setting = asyncio.create_task(self.framework.set_demand("*", proffer.demand("bad", 1, "cpus:1")))
        await session.call("set_demand")
        session.end()
        session = await self.master.session()
        with self.assertLogs("proffer", "WARNING"):
            call = await session.call("set_demand")
            self.assertEqual(call.set_demand.entries[0].id, "bad")
            await session.answer(call, refused=v1.Problem(code="id.invalid", kind=v1.PROBLEM_KIND_INVALID))
            call = await session.call("set_demand")
        self.assertEqual(call.set_demand.entries[0].id, "good")
        await session.done(call)
        await self.finish(session, running)

    async def test_an_id_that_is_given_twice_is_not_launched(self):
        spec = proffer.shell_task("t", "true", "cpus:1")
        answers = asyncio.Queue()

        class Twice(Writer):
            async def on_offers(self, framework, offers):
                other = proffer.shell_task("u", "true", "cpus:1")
                answers.put_nowait(await framework.launch(offers, [spec, other, spec]))
                try:
                    await framework.accept(offers, [v1.Operation(launch=spec)] * 2)
                except proffer.ProfferError as problem:
                    answers.put_nowait(problem.code)

        self.run_framework(Twice())
        session = await self.master.session()
        await session.offer("cpus:3")
        self.assertEqual([task.id for task in await session.launches()], ["u"])
        refused = await self.master.within(answers.get())
        self.assertEqual({task_id: problem.code for task_id, problem in refused.items()}, {"t": "task.duplicate"})
        self.assertEqual(await self.master.within(answers.get()), "task.duplicate")

    async def test_a_launch_that_nobody_waits_for_and_that_is_refused_leaves_its_id_free(self):
        answers = asyncio.Queue()

        class Impatient(Writer):
            async def on_offers(self, framework, offers):
                launching = asyncio.create_task(super().on_offers(framework, offers))
                await began.get()
                launching.cancel()
                await asyncio.gather(launching, return_exceptions=True)
                answers.put_nowait("cancelled")

            async def on_message(self, framework, message):
                answers.put_nowait(sorted(framework.settle(["t"])))

        began = asyncio.Queue()
        self.run_framework(Impatient())
        session = await self.master.session()
        await session.offer("cpus:1")
        accept = await session.call("accept")
        began.put_nowait(None)
        self.assertEqual(await self.master.within(answers.get()), "cancelled")
        await session.send(message=v1.ExecutorMessage(agent_id="a", executor_id="e", data=b"before"))
        self.assertEqual(await self.master.within(answers.get()), [], "it may be launched yet")
        await session.answer(accept, refused=v1.Problem(code="offer.gone", kind=v1.PROBLEM_KIND_CONFLICT))
        await session.send(message=v1.ExecutorMessage(agent_id="a", executor_id="e", data=b"after"))
        self.assertEqual(await self.master.within(answers.get()), ["t"])

    async def test_what_is_no_id_is_not_settled_and_keeps_none_beside_it_waiting(self):
        self.run_framework(framework_id="mine")
        await self.master.session()
        wrong = ["", ".", "..", "a/b", "a\\b", "a%2e", "a\nb", "a b", "a\u00a0b", "\x00", "\ud800", "x" * 201, "ä" * 101, 7, None]
        for task_id in wrong:
            with self.assertRaises(proffer.ProfferError, msg=repr(task_id)) as raised:
                self.framework.settle(["good", task_id])
            self.assertEqual((raised.exception.code, raised.exception.field), ("id.invalid", "task_ids"))
        self.assertEqual(self.framework._tasks.open(), [], "nothing of it is asked for")
        self.framework.settle(["a", "web.instance-1", "x" * 200, "ä"])
        self.assertEqual(self.framework._tasks.open(), ["a", "web.instance-1", "x" * 200, "ä"])

    async def test_an_end_of_an_id_in_doubt_is_told_again_when_it_may_be_launched(self):
        class Settling(Writer):
            async def on_subscribed(self, framework):
                self.told.append(sorted(framework.settle(["t"])))

            async def on_update(self, framework, status):
                self.told.append((status.incarnation, proffer.state_name(status.state), status.message, sorted(framework.settle(["t"]))))

        author = Settling()
        self.run_framework(author, framework_id="mine")
        session = await self.master.session()
        await session.tell("t", v1.TASK_STATE_FAILED, incarnation=1, message="why")
        self.assertEqual(list((await session.call("reconcile")).reconcile.task_ids), ["t"])
        await session.acknowledged(await session.tell("t", LOST, incarnation=0, number=0))
        told = (1, "failed", "why")
        self.assertEqual(author.told, [[], "snapshot", (*told, []), (*told, ["t"])])

    async def test_reclaims_messages_and_ends_of_executors_are_told(self):
        self.run_framework()
        session = await self.master.session()
        await session.send(reclaim=v1.Reclaim(task_ids=["t"], reason=v1.REASON_AGENT_DRAINED, deadline_ms=9))
        self.assertEqual((await session.call("kill")).kill.task_id, "t")
        await session.send(answered=v1.Answered(request_id=0, done=v1.Done()))
        self.assertEqual(self.author.told[2:], [("reclaim", ["t"])])

    async def test_an_executor_is_answered(self):
        self.run_framework()
        session = await self.master.session()
        await session.send(message=v1.ExecutorMessage(agent_id="a", executor_id="e", data=b"there"))
        call = await session.call("send_message")
        self.assertEqual((call.send_message.executor_id, call.send_message.data), ("e", b"back"))
        await session.done(call)
        await session.send(executor_ended=v1.ExecutorEnded(agent_id="a", executor_id="e", message="over"))
        await session.acknowledged(await session.tell("t", RUNNING))
        self.assertEqual(self.author.told[2:], [b"there", "over", "running"])

    async def test_a_list_holds_all_of_a_state_that_is_longer_than_an_answer(self):
        listed = asyncio.get_running_loop().create_future()
        keys = [f"k/{number}" for number in range(10, 30)]

        class Keeping(Writer):
            async def on_subscribed(self, framework):
                for key in keys:
                    await framework.state.put(key, bytes(256 * 1024))
                listed.set_result([entry.key for entry in await framework.state.list("k/")])

        self.run_framework(Keeping())
        await self.master.session()
        self.assertEqual(await self.master.within(listed), keys)

    async def test_state_is_kept_and_watched(self):
        seen, told = [], asyncio.Event()

        class Keeping(Writer):
            async def on_subscribed(self, framework):
                await framework.state.put("kept/a", b"1", expected_version=0)
                with unheard.assertRaises(proffer.ProfferError) as raised:
                    await framework.state.put("kept/a", b"2", expected_version=0)
                unheard.assertEqual(raised.exception.code, "state.version")
                unheard.assertIsNone(await framework.state.get("kept/b"))
                self.watching = asyncio.create_task(self.watch(framework))

            async def watch(self, framework):
                async for change in framework.state.watch("kept/"):
                    seen.append(change.WhichOneof("change"))
                    if seen[-1] == "up_to_date":
                        await framework.state.put("other", b"")
                        await framework.state.delete("kept/a")
                    if seen[-1] == "deleted":
                        told.set()

        unheard = self
        author = Keeping()
        self.run_framework(author)
        await self.master.session()
        await self.master.within(told.wait())
        author.watching.cancel()
        self.assertEqual(seen, ["put", "up_to_date", "deleted"])


    async def test_a_watch_above_the_rate_waits_for_its_turn(self):
        seen, waits = asyncio.Queue(), [0.01, 0.02, None, 60]

        class Stub:
            def __init__(self, _):
                pass

            async def Watch(self, _, metadata):
                wait = waits.pop(0)
                if wait:
                    raise proffer.ProfferError("session.rate_limited", "", "too many calls", retry_after=wait)
                yield v1.WatchStateResponse(up_to_date=True)

        class Watching(Writer):
            async def on_subscribed(self, framework):
                for _ in range(2):
                    try:
                        async for change in framework.state.watch():
                            seen.put_nowait(change.WhichOneof("change"))
                    except proffer.ProfferError as problem:
                        seen.put_nowait(problem.code)

        with mock.patch.object(v1, "FrameworkStateStub", Stub):
            self.run_framework(Watching())
            await self.master.session()
            heard = [await self.master.within(seen.get()) for _ in range(3)]
        self.assertEqual(heard, ["up_to_date", "peer.unreachable", "session.rate_limited"])
        self.assertEqual(waits, [])


class Offers(unittest.TestCase):
    def offer(self, text):
        return v1.Offer(resources=proffer.resources(text), fits=[v1.Fit(demand_id="work", count=2)])

    def test_how_often_something_fits(self):
        offer = self.offer("cpus:2;mem:100;ports:[1-5]")
        for needs, count in [("cpus:0.5", 4), ("cpus:0.5;mem:40", 2), ("gpus:1", 0), ("cpus:2.001", 0), ("", 0)]:
            self.assertEqual(proffer.fits(offer, needs), count, needs)
        self.assertEqual(proffer.Remainder(offer).fits("cpus:0.1", ports=2), 2)
        self.assertEqual(proffer.fits(offer, v1.DemandEntry(id="work")), 2)
        self.assertEqual(proffer.fits(offer, v1.DemandEntry(id="other")), 0)

    def test_an_offer_is_cut_up(self):
        left = proffer.Remainder(self.offer("cpus:1;mem:100;ports:[7,9-10,12]"))
        first = left.take("cpus:0.4", ports=2)
        self.assertEqual(proffer.ports(first), [7, 9])
        self.assertEqual([(one.name, one.milli) for one in first.scalars], [("cpus", 400)])
        self.assertEqual(proffer.ports(left.take("cpus:0.4", ports=2)), [10, 12])
        self.assertIsNone(left.take("cpus:0.4"))
        self.assertIsNone(left.take("cpus:0.1", ports=1))
        self.assertEqual(left.amount("cpus"), 200)

    def test_what_is_reserved_goes_first_and_says_so(self):
        left = proffer.Remainder(self.offer("cpus:1;cpus(eng):0.5;ports(eng):[20-21];ports:[1-2]"))
        self.assertEqual(left.fits("cpus:0.5"), 3)
        taken = left.take("cpus:0.7", ports=3)
        self.assertEqual(proffer.ports(taken), [1, 20, 21])
        reserved = [one.milli for one in taken.special if one.name == "cpus"]
        self.assertEqual((reserved, taken.scalars[0].milli), ([500], 200))

    def test_what_cannot_be_cut_off_is_refused_and_not_left_out(self):
        left = proffer.Remainder(self.offer("cpus(eng):1;cpus:1;mem:64;ports:[1-9]"))
        for needs in ["cpus(eng):1;mem:32", "cpus:1;ports:[2-2]"]:
            for call in [left.take, left.fits]:
                with self.assertRaises(proffer.ProfferError, msg=needs) as raised:
                    call(needs)
                self.assertEqual((raised.exception.code, raised.exception.field), ("resources.invalid", "needs"))
        self.assertEqual(left.amount("cpus"), 2000)

    def test_volumes_and_revocable_resources_are_left_alone(self):
        offer = self.offer("cpus(eng):1")
        offer.resources.special[0].revocable = True
        self.assertIsNone(proffer.Remainder(offer).take("cpus:1"))


if __name__ == "__main__":
    unittest.main()
