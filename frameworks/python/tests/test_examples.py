"""The examples against the fake master: what they do when something goes wrong at the worst moment."""

import asyncio
import contextlib
import importlib.util
import io
import unittest
from pathlib import Path

from proffer import v1
from proffer.testing import FakeMaster

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
GUIDE = EXAMPLES.parents[1] / "docs/write-a-framework.md"
RUNNING, FINISHED, FAILED, KILLED = (
    v1.TASK_STATE_RUNNING,
    v1.TASK_STATE_FINISHED,
    v1.TASK_STATE_FAILED,
    v1.TASK_STATE_KILLED,
)


def load(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def load_from_guide(name):
    """A class of a program that stands in the guide."""
    programs = GUIDE.read_text().split("```python\n")[1:]
    program = next(it for it in programs if f"class {name}(" in it).split("\n```")[0]
    defined = {}
    exec(program.split("\nproffer.run(")[0], defined)
    return defined[name]


class Examples(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self):
        self.enterContext(contextlib.redirect_stdout(io.StringIO()))
        self.master = await self.enterAsyncContext(FakeMaster())
        self.runs = []
        self.addAsyncCleanup(self.stop)

    def start(self, scheduler, **options):
        framework = self.master.framework("example", **options)
        running = asyncio.create_task(framework.run(scheduler))
        self.runs.append(running)
        return running

    async def stop(self):
        for running in self.runs:
            running.cancel()
        await asyncio.gather(*self.runs, return_exceptions=True)

    async def demanded(self, session):
        call = await session.call("set_demand")
        await session.done(call)
        return list(call.set_demand.entries)

    async def test_spread_writes_each_start_down_and_the_next_program_starts_none_twice(self):
        Spread = load("spread").Spread
        first = self.start(Spread(2, "true", "agent"), framework_id="s", create=True, stand_by=True)
        session = await self.master.session()
        (entry,) = await self.demanded(session)
        self.assertEqual((entry.count, entry.at_most[0].WhichOneof("of")), (2, "agent"))
        await session.offer("cpus:1;mem:64")
        (task,) = await session.launches()
        self.assertEqual(self.master.state.entries[f"starts/{task.id[:-2]}"].value, b"1")
        await session.acknowledged(await session.tell(task.id, RUNNING))
        first.cancel()
        await session.gone()
        self.start(Spread(2, "true", "agent"), framework_id="s", create=True, stand_by=True)
        session = await self.master.session()
        self.assertEqual((await self.demanded(session))[0].count, 1, "what was started is not wanted again")
        while list((call := await session.call("reconcile")).reconcile.task_ids) != [task.id]:
            pass
        await session.done(call)
        await session.tell(task.id, FAILED)
        while (await self.demanded(session))[0].count != 2:
            pass
        await session.offer("cpus:1;mem:64")
        await session.offer("cpus:1;mem:64", agent="agent-2")
        again = {(await session.launches())[0].id, (await session.launches())[0].id}
        self.assertEqual(len(again), 2)
        self.assertIn(f"{task.id[:-2]}-2", again)

    async def test_spread_starts_anew_what_cannot_be_reached_and_of_two_ends_the_one_that_comes_back(self):
        spread = load("spread").Spread(1, "true", "agent", patience=0.05)
        self.start(spread, framework_id="s", create=True)
        session = await self.master.session()
        await session.offer("cpus:1;mem:64")
        (lost,) = await session.launches()
        await session.tell(lost.id, RUNNING)
        await session.tell(lost.id, v1.TASK_STATE_UNREACHABLE)
        while not await self.demanded(session):
            pass
        await session.offer("cpus:1;mem:64", agent="agent-2")
        (task,) = await session.launches()
        self.assertEqual((lost.id, task.id), ("copy-0-1", "copy-0-2"))
        await session.acknowledged(await session.tell(task.id, RUNNING))
        await session.tell(lost.id, RUNNING)
        call = await session.call("kill")
        self.assertEqual(call.kill.task_id, lost.id)
        await session.done(call)
        # One that comes back in time stays.
        spread.patience = 60
        await session.acknowledged(await session.tell(task.id, v1.TASK_STATE_UNREACHABLE))
        patience = spread.patient["copy-0"]
        await session.acknowledged(await session.tell(task.id, v1.TASK_STATE_UNREACHABLE))
        self.assertIs(spread.patient["copy-0"], patience, "it does not begin anew")
        await session.acknowledged(await session.tell(task.id, RUNNING))
        self.assertFalse(spread.waiting or spread.patient)

    async def test_spread_moves_what_is_wanted_back(self):
        self.start(load("spread").Spread(1, "true", "zone"), framework_id="s", create=True)
        session = await self.master.session()
        await session.offer("cpus:1;mem:64")
        (task,) = await session.launches()
        await session.tell(task.id, RUNNING)
        await session.send(reclaim=v1.Reclaim(task_ids=[task.id], reason=v1.REASON_AGENT_DRAINED))
        self.assertEqual((await session.call("kill")).kill.task_id, task.id)

    async def test_daemon_waits_for_the_fate_of_an_earlier_one(self):
        self.start(load("daemon").Daemon("true"), framework_id="d", create=True)
        session = await self.master.session()
        (entry,) = await self.demanded(session)
        self.assertEqual(entry.at_most[0].count, 1)
        await session.offer("cpus:1;mem:64")
        await session.done(await session.call("decline"))
        await session.call("reconcile")
        await session.tell("on-agent-1", v1.TASK_STATE_LOST, incarnation=0, number=0)
        await session.offer("cpus:1;mem:64")
        (task,) = await session.launches()
        self.assertEqual(task.id, "on-agent-1")

    async def test_a_gang_starts_together_and_ends_together(self):
        gang = load("gang").Gang(2, "true")
        running = self.start(gang)
        session = await self.master.session()
        (entry,) = await self.demanded(session)
        self.assertEqual((entry.gang, entry.count), (2, 2))
        for attempt in (1, 2):
            await session.offer("cpus:1;mem:64", agent="a")
            await session.offer("cpus:1;mem:64", agent="b")
            members = [(await session.launches())[0] for _ in range(2)]
            self.assertEqual([task.environment["RANK"] for task in members], ["0", "1"])
            if attempt == 1:
                await session.tell(members[0].id, FAILED)
                call = await session.call("kill")
                self.assertEqual(call.kill.task_id, members[1].id)
                await session.done(call)
                await session.tell(members[1].id, KILLED)
        for task in members:
            await session.tell(task.id, FINISHED)
        await session.finish()
        await self.master.within(running)
        self.assertEqual((gang.finished, gang.attempt), (2, 2))

    async def test_a_gang_that_was_cut_short_begins_anew(self):
        self.start(load("gang").Gang(2, "true"))
        session = await self.master.session()
        await session.offer("cpus:1;mem:64", agent="a")
        await session.offer("cpus:1;mem:64", agent="b")
        (member,) = await session.launches()
        await session.call("accept")
        session.end()
        session = await self.master.session()
        killed = set()
        for _ in range(2):
            call = await session.call("kill")
            await session.done(call)
            killed.add(call.kill.task_id)
        self.assertEqual(killed, {member.id, "member-1-1"})

    async def test_the_program_of_the_guide_that_keeps_a_volume_makes_it_once(self):
        running = self.start(load_from_guide("Keep")(), roles=["keep"])
        session = await self.master.session()
        (entry,) = await self.demanded(session)
        self.assertEqual(entry.predicates[0].resource, "disk")
        await session.offer("disk(keep):64;cpus:1;mem:64")
        await session.launches()
        session.end()
        session = await self.master.session()
        # What the volume was not made of.
        await session.offer("disk(keep):32;cpus:1;mem:64")
        await session.done(await session.call("decline"))
        self.assertFalse(running.done())

    async def test_the_program_of_the_guide_that_keeps_a_volume_reserves_disk_once(self):
        self.start(load_from_guide("Keep")(), roles=["keep"])
        session = await self.master.session()
        await self.demanded(session)
        await session.offer("disk:128;cpus:1;mem:64")
        await session.launches()
        await self.demanded(session)
        session.end()
        session = await self.master.session()
        # What was wanted last, and what the program says.
        for _ in range(2):
            (entry,) = await self.demanded(session)
            self.assertEqual(entry.predicates[0].reserved, "disk")


if __name__ == "__main__":
    unittest.main()
