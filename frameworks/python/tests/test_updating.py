"""What a framework says of itself, changed while it runs: also while it subscribes or stands by, and when that is refused."""

import asyncio
import unittest

import proffer
from proffer import v1
from proffer.limits import BACKLOG_PAUSE
from proffer.testing import FakeMaster

FORBIDDEN = ("role.forbidden", v1.PROBLEM_KIND_FORBIDDEN)


class Wanting(proffer.Scheduler):
    """Wants something in each role that it begins with."""

    def __init__(self, *roles):
        self.roles = list(roles)
        self.stood_by = asyncio.Event()
        self.goes_on = asyncio.Event()

    async def on_subscribed(self, framework):
        while self.roles:
            await framework.set_demand(self.roles.pop(0), proffer.demand("work", 1, "cpus:1"))

    async def on_standing_by(self, framework):
        self.stood_by.set()

    async def on_rescinded(self, framework, offer_ids):
        await self.goes_on.wait()


def said(session):
    subscribe = session.subscribe
    return subscribe.name, list(subscribe.roles)


class Updating(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self):
        self.master = await self.enterAsyncContext(FakeMaster())

    def start(self, *wanted, masters=None, **options):
        self.framework = proffer.Framework(masters or self.master.address, "test", token="0" * 64, **options)
        self.scheduler = Wanting(*wanted)
        self.running = asyncio.create_task(self.framework.run(self.scheduler))
        self.addAsyncCleanup(self.stop)

    async def stop(self):
        self.running.cancel()
        await asyncio.gather(self.running, return_exceptions=True)

    async def backlog(self):
        """So much waits for the handlers that the session is not read."""
        while self.framework._session is None or self.framework._session.events.qsize() < BACKLOG_PAUSE:
            await asyncio.sleep(0.01)

    async def demanded(self, session):
        call = await session.call("set_demand")
        await session.done(call)
        return call.set_demand.role

    async def test_a_framework_is_updated_in_place_and_stays_as_it_was_when_that_is_refused(self):
        self.start("web", "batch", roles=("web", "batch"))
        session = await self.master.opened()
        await session.accept()
        for role in ("web", "batch"):
            self.assertEqual(await self.demanded(session), role)
        kept = await session.send(snapshot_ended=v1.SnapshotEnded())
        await session.acknowledged(kept)
        self.framework.update(name="test", roles=("web", "batch"))
        self.framework.update(name="other", roles=("batch", "more"), failover_timeout=60)

        session = await self.master.opened()
        self.assertEqual((said(session), session.subscribe.failover_timeout_ms), (("other", ["batch", "more"]), 60_000))
        self.assertEqual((session.subscribe.resume.epoch, session.subscribe.resume.sequence), (1, kept))
        await session.accept(is_resumed=True)
        self.assertEqual(await self.demanded(session), "batch", "and not of the role that it has left")
        self.framework.update(roles=("*", "forbidden"), failover_timeout=1)

        session = await self.master.opened()
        self.assertEqual(session.subscribe.roles, ["*", "forbidden"])
        with self.assertLogs("proffer", "WARNING") as logs:
            await session.refuse(*FORBIDDEN)
            session = await self.master.opened()
        self.assertIn("stays what it was", logs.output[0])
        self.assertEqual((said(session), session.subscribe.failover_timeout_ms), (("other", ["batch", "more"]), 60_000))
        await session.accept(is_resumed=True)
        self.assertEqual(await self.demanded(session), "batch", "what was wanted still is")

    async def test_what_is_updated_while_it_subscribes_is_said_next_and_refused_it_stays_what_it_was(self):
        self.start()
        session = await self.master.opened()
        self.framework.update(name="other")
        self.assertEqual(said(session), ("test", ["*"]))
        await session.accept()
        session = await self.master.opened()
        self.assertEqual(said(session), ("other", ["*"]))
        await session.refuse(*FORBIDDEN)
        session = await self.master.opened()
        self.assertEqual(said(session), ("test", ["*"]), "which a master has taken")

    async def test_what_is_updated_while_it_stands_by_is_said_when_it_is_active(self):
        self.start(framework_id="f", stand_by=True)
        session = await self.master.opened()
        await session.stand_by()
        self.framework.update(roles=("batch",))
        await session.accept()
        session = await self.master.opened()
        self.assertEqual(said(session), ("test", ["batch"]))

    async def test_an_update_that_was_never_sent_outlasts_the_refusal_of_another(self):
        self.start()
        session = await self.master.session()
        self.framework.update(name="refused")
        session = await self.master.opened()
        self.framework.update(name="later")
        await session.refuse(*FORBIDDEN)
        session = await self.master.opened()
        self.assertEqual(said(session)[0], "later")
        await session.refuse(*FORBIDDEN)
        session = await self.master.session()
        self.assertEqual(said(session)[0], "test")

    async def test_nobody_who_stands_by_takes_the_place_of_a_framework_that_is_updated(self):
        self.start(framework_id="f", stand_by=True)
        active = await self.master.session()
        self.assertTrue(active.subscribe.stand_by, "it takes nobody's place")
        for name, is_refused in (("second", False), ("third", True)):
            self.framework.update(name=name)
            session = await self.master.opened()
            self.assertFalse(session.subscribe.stand_by, "it goes on from its own session")
            if is_refused:
                await session.refuse(*FORBIDDEN)
                session = await self.master.opened()
                self.assertFalse(session.subscribe.stand_by, "as it was")
            left = asyncio.create_task(active.gone())
            await active.send(offered=v1.Offered())
            self.assertFalse(left.done(), "nobody stands by yet")
            await session.accept()
            await left
            active = session
        active.end()
        session = await self.master.opened()
        self.assertTrue(session.subscribe.stand_by, "another one may be active")

    async def test_who_is_updated_does_not_stand_by_for_itself_at_another_address_of_its_master(self):
        port = self.master.address.rpartition(":")[2]
        masters = [f"localhost:{port}", self.master.address]
        self.start(masters=masters, framework_id="f", stand_by=True)
        active = await self.master.session()
        for is_own in (True, False):
            self.framework.update(name=f"own {is_own}")
            session = await self.master.opened()
            self.assertFalse(session.subscribe.stand_by, "at the same address")
            await session.refuse("master.not_leading", v1.PROBLEM_KIND_UNAVAILABLE)
            session = await self.master.opened()
            self.assertTrue(session.subscribe.stand_by, "it may be another master")
            if is_own:
                await session.stand_by()
                session = await self.master.opened()
                self.assertFalse(session.subscribe.stand_by, "it is the one of its own session")
                await session.accept()
                await active.gone()
                active = session
        self.assertFalse(self.scheduler.stood_by.is_set())
        # Of this one's term its own session is not: somebody else is active.
        self.master.epoch = 2
        await session.stand_by()
        await active.gone()
        await self.master.within(self.scheduler.stood_by.wait())
        await session.accept()

    async def test_who_is_updated_takes_nobodys_place_when_its_session_has_ended_while_it_waits(self):
        self.start(framework_id="f", stand_by=True)
        for has_ended in (False, True):
            active = await self.master.session()
            # What nobody reads any more does not hide its end, even where so much waits that nothing more was read.
            self.scheduler.goes_on.clear()
            for _ in range(2 * BACKLOG_PAUSE):
                await active.send(rescinded=v1.Rescinded())
            await self.master.within(self.backlog())
            self.framework.update(name=f"ended {has_ended}")
            self.scheduler.goes_on.set()
            session = await self.master.opened()
            self.assertFalse(session.subscribe.stand_by)
            if has_ended:
                active.end()
            limited = v1.Problem(code="session.rate_limited", kind=v1.PROBLEM_KIND_EXHAUSTED, retry_after_ms=2000)
            await session.send(closed=limited)
            session.end()
            session = await self.master.opened()
            self.assertEqual(session.subscribe.stand_by, has_ended)
            await session.accept()
            session.end()


if __name__ == "__main__":
    unittest.main()
