"""Waits until so many agents have room at once, starts one task on each of them together, and ends when all have finished.

    python frameworks/examples/gang.py --master 127.0.0.1:5050 --members 3 --command 'echo $RANK of $SIZE, first on $FIRST'

When a member fails the others are ended, and the gang is tried again from the start.
"""

import argparse
import sys
from collections.abc import Sequence

import proffer
from proffer import v1

NEEDS = "cpus:0.5;mem:64"
ATTEMPTS_MAX = 3


class Gang(proffer.Scheduler):
    def __init__(self, members: int, command: str) -> None:
        self.members, self.command = members, command
        self.attempt = 0
        self.running: set[str] = set()  # Members of this attempt that have not ended.
        self.finished = 0
        self.has_failed = False
        self.is_whole = True  # Whether all members of this attempt have been launched.
        self.held: list[v1.Offer] = []  # Offers on different agents that wait until there are enough.

    async def on_subscribed(self, framework: proffer.Framework) -> None:
        self.held = []  # Offers of an earlier session are void.
        if not self.running:
            await self.ask(framework)
        elif not self.is_whole:  # The session broke between two launches.
            for member in list(self.running):
                await framework.kill(member)

    async def on_offers(self, framework: proffer.Framework, offers: Sequence[v1.Offer]) -> None:
        agents = {offer.agent_id for offer in self.held}
        # The master offers a gang's agents at once or none of them.
        self.held += [offer for offer in offers if offer.agent_id not in agents]
        if self.running or len(self.held) < self.members:
            return
        chosen, self.held = self.held[: self.members], []
        self.attempt += 1
        self.is_whole = False
        await framework.set_demand("*", [])
        for rank, offer in enumerate(chosen):
            if self.has_failed:
                await framework.decline([offer])
                continue
            names = {"RANK": str(rank), "SIZE": str(self.members), "FIRST": chosen[0].host}
            task = proffer.shell_task(f"member-{self.attempt}-{rank}", self.command, NEEDS, names)
            self.running.add(task.id)
            refused = await framework.launch([offer], [task])
            for problem in refused.values():
                print(task.id, problem, flush=True)
                self.running.discard(task.id)
                self.has_failed = True
        self.is_whole = True
        if self.has_failed:
            for other in list(self.running):
                await framework.kill(other)
            await self.go_on(framework)

    async def on_rescinded(self, framework: proffer.Framework, offer_ids: Sequence[str]) -> None:
        self.held = [offer for offer in self.held if offer.id not in offer_ids]

    async def on_update(self, framework: proffer.Framework, status: v1.Status) -> None:
        if status.task_id in self.running and proffer.is_terminal(status.state):
            print(status.task_id, proffer.state_name(status.state), status.message, flush=True)
            await self.ended(framework, status.task_id, status.state == v1.TASK_STATE_FINISHED)

    async def ended(self, framework: proffer.Framework, task_id: str, is_good: bool) -> None:
        self.running.discard(task_id)
        self.finished += is_good
        if not is_good and not self.has_failed:
            self.has_failed = True
            for other in list(self.running):
                await framework.kill(other)
        await self.go_on(framework)

    async def go_on(self, framework: proffer.Framework) -> None:
        if self.running:
            return
        if self.finished == self.members or self.attempt == ATTEMPTS_MAX:
            await framework.teardown()
        else:
            await self.ask(framework)

    async def ask(self, framework: proffer.Framework) -> None:
        self.finished, self.has_failed = 0, False
        (wanted,) = proffer.demand("member", self.members, NEEDS)
        wanted.gang = self.members
        wanted.at_most.append(v1.AtMost(count=1, agent=v1.Each()))
        await framework.set_demand("*", [wanted])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--master", default="127.0.0.1:5050", help="host:port, several with commas")
    parser.add_argument("--members", type=int, default=2, help="how many, each on an agent of its own")
    parser.add_argument("--command", default="echo $RANK of $SIZE", help="the line of shell")
    options = parser.parse_args()
    gang = Gang(options.members, options.command)
    proffer.run(gang, options.master, "gang")
    print(f"{gang.finished} of {options.members} members finished in attempt {gang.attempt}")
    sys.exit(gang.finished != options.members)


if __name__ == "__main__":
    main()
