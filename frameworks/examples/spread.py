"""Keeps so many copies of a line of shell running, at most one on an agent (or in a zone), and starts anew what ends.

    python frameworks/examples/spread.py --master 127.0.0.1:5050 --name web --copies 3 --command 'exec sleep 1000'

Start it twice: one is active, the other stands by and goes on when the first ends, however that ends. How often each copy
was started stands in the framework's state, so nothing is lost with the program. Copies run on when no program is left;
with --copies 0 the framework is torn down, and they end. A copy whose agent cannot be reached for --patience seconds is
started anew, under another id; should it come back after that, it is ended.
"""

import argparse
import asyncio
import contextlib
from collections.abc import Sequence

import proffer
from proffer import v1

NEEDS = "cpus:0.1;mem:32"


class Spread(proffer.Scheduler):
    def __init__(self, copies: int, command: str, each: str, patience: float = 60) -> None:
        self.command, self.each, self.patience = command, each, patience
        self.slots = [f"copy-{number}" for number in range(copies)]
        self.starts: dict[str, int] = {}  # How often each copy was started: its task's id ends with it.
        self.waiting: set[str] = set()  # Copies that do not run.
        self.patient: dict[str, asyncio.Task[None]] = {}  # Copies whose agents cannot be reached.

    async def on_standing_by(self, framework: proffer.Framework) -> None:
        print("standing by", flush=True)

    async def on_subscribed(self, framework: proffer.Framework) -> None:
        print("active", flush=True)
        if not self.slots:
            return await framework.teardown()
        entries = await framework.state.list("starts/")
        self.starts = {entry.key.removeprefix("starts/"): int(entry.value) for entry in entries}
        # What was never started may be started; of the others their statuses say what became of them.
        self.waiting = {slot for slot in self.slots if slot not in self.starts}
        free = framework.settle(self.task_id(slot) for slot in self.slots if slot in self.starts)
        self.waiting |= {self.slot(task_id) for task_id in free}
        # A session that goes on where the last one was says nothing new of them.
        self.waiting |= {slot for slot, patience in self.patient.items() if patience.done()}
        await self.go_on(framework)

    async def on_offers(self, framework: proffer.Framework, offers: Sequence[v1.Offer]) -> None:
        for offer in offers:
            if not self.waiting:
                await framework.decline([offer])
                continue
            slot = next(iter(self.waiting))
            starts = self.starts.get(slot, 0) + 1
            # Durable before the launch: whoever goes on asks about this start, and makes no second one.
            await framework.state.put(f"starts/{slot}", str(starts).encode())
            self.starts[slot] = starts
            self.waiting.discard(slot)
            self.forget_patience(slot)
            task = proffer.shell_task(self.task_id(slot), self.command, NEEDS, {"COPY": slot})
            for problem in (await framework.launch([offer], [task])).values():
                print(slot, problem, flush=True)
                self.waiting.add(slot)
        await self.go_on(framework)

    async def on_update(self, framework: proffer.Framework, status: v1.Status) -> None:
        slot = self.slot(status.task_id)
        if slot not in self.slots:
            return
        if status.task_id != self.task_id(slot):
            if status.state == v1.TASK_STATE_RUNNING:
                await framework.kill(status.task_id)  # It was started anew meanwhile.
            return
        print(status.task_id, proffer.state_name(status.state), status.message, flush=True)
        if status.state == v1.TASK_STATE_UNREACHABLE:
            # It may be said again, in each session; patience began when it was said first.
            if slot not in self.patient:
                self.patient[slot] = asyncio.create_task(self.give_up(framework, slot))
            return
        self.forget_patience(slot)
        before = set(self.waiting)
        self.waiting.discard(slot)
        if proffer.is_terminal(status.state):
            self.waiting.add(slot)
        if self.waiting != before:
            await self.go_on(framework)

    async def give_up(self, framework: proffer.Framework, slot: str) -> None:
        await asyncio.sleep(self.patience)
        self.waiting.add(slot)
        with contextlib.suppress(proffer.ProfferError):  # Then the next session, or whatever happens next, does it.
            await self.go_on(framework)

    def forget_patience(self, slot: str) -> None:
        if patience := self.patient.pop(slot, None):
            patience.cancel()

    async def on_reclaim(self, framework: proffer.Framework, reclaim: v1.Reclaim) -> None:
        # There is nothing to lose here, so they move at once.
        if reclaim.reason:
            for task_id in reclaim.task_ids:
                await framework.kill(task_id)

    async def go_on(self, framework: proffer.Framework) -> None:
        wanted = proffer.demand("copy", len(self.waiting), NEEDS)
        for entry in wanted:  # The master counts those that run, too.
            limit = v1.AtMost(count=1)
            getattr(limit, self.each).SetInParent()
            entry.at_most.append(limit)
        await framework.set_demand("*", wanted)

    def task_id(self, slot: str) -> str:
        return f"{slot}-{self.starts.get(slot, 0)}"

    def slot(self, task_id: str) -> str:
        return task_id.rpartition("-")[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--master", default="127.0.0.1:5050", help="host:port, several with commas")
    parser.add_argument("--name", default="spread", help="the framework's name, and its id")
    parser.add_argument("--copies", type=int, default=3, help="how many")
    parser.add_argument("--each", choices=["agent", "zone"], default="agent", help="what has at most one")
    parser.add_argument("--command", default="exec sleep 1000", help="the line of shell")
    parser.add_argument("--patience", type=float, default=60, help="seconds that an agent may be out of reach")
    options = parser.parse_args()
    spread = Spread(options.copies, options.command, options.each, options.patience)
    proffer.run(spread, options.master, options.name, framework_id=options.name, create=True, stand_by=True)


if __name__ == "__main__":
    main()
