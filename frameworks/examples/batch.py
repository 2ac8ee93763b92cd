"""Runs a line of shell so many times, each time as a task of its own, tries failed ones again, and says how they ended.

    python frameworks/examples/batch.py --master 127.0.0.1:5050 --tasks 10 --command 'echo "done by $PROFFER_TASK_ID"'

With --id-file it can be killed at any moment and started again: it goes on where it was, and runs no finished task again.
"""

import argparse
import collections
import sys
from collections.abc import Sequence

import proffer
from proffer import v1

NEEDS = "cpus:0.1;mem:32"
ATTEMPTS_MAX = 3


class Batch(proffer.Scheduler):
    def __init__(self, tasks: int, command: str) -> None:
        self.command = command
        self.open = {f"batch-{number}" for number in range(tasks)}  # Neither finished nor given up.
        self.waiting: set[str] = set()  # Of these, what may be launched.
        self.failures: dict[str, set[int]] = collections.defaultdict(set)  # Launches: an end may be told twice.

    async def on_subscribed(self, framework: proffer.Framework) -> None:
        self.open -= {entry.key for entry in await framework.state.list()}
        self.waiting |= framework.settle(self.open)
        await self.go_on(framework)

    async def on_offers(self, framework: proffer.Framework, offers: Sequence[v1.Offer]) -> None:
        for offer in offers:
            fits = sum(fit.count for fit in offer.fits)
            taken = [self.waiting.pop() for _ in range(min(fits, len(self.waiting)))]
            specs = [proffer.shell_task(task, self.command, NEEDS) for task in taken]
            self.waiting.update(await framework.launch([offer], specs))
        await self.go_on(framework)

    async def on_update(self, framework: proffer.Framework, status: v1.Status) -> None:
        task = status.task_id
        self.waiting.discard(task)
        if not proffer.is_terminal(status.state) or task not in self.open:
            return
        is_finished = status.state == v1.TASK_STATE_FINISHED
        if status.incarnation:  # Without one, no agent has ever heard of it.
            print(task, proffer.state_name(status.state), status.message, flush=True)
        if status.incarnation and not is_finished:
            self.failures[task].add(status.incarnation)
        if is_finished:
            await framework.state.put(task, b"")  # Durable before the status is acknowledged.
        if is_finished or len(self.failures[task]) == ATTEMPTS_MAX:
            self.open.discard(task)
        self.waiting |= framework.settle({task} & self.open)
        await self.go_on(framework)

    async def go_on(self, framework: proffer.Framework) -> None:
        await framework.set_demand("*", proffer.demand("work", len(self.waiting), NEEDS))
        if not self.open:
            await framework.teardown()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--master", default="127.0.0.1:5050", help="host:port, several with commas")
    parser.add_argument("--tasks", type=int, default=10, help="how many")
    parser.add_argument("--command", default="sleep 1", help="the line of shell")
    parser.add_argument("--id-file", help="keeps the framework's id, to go on after a restart")
    options = parser.parse_args()
    batch = Batch(options.tasks, options.command)
    proffer.run(batch, options.master, "batch", id_file=options.id_file)
    given_up = [len(failures) for failures in batch.failures.values()].count(ATTEMPTS_MAX)
    print(f"{options.tasks - given_up} of {options.tasks} tasks finished")
    sys.exit(given_up > 0)


if __name__ == "__main__":
    main()
