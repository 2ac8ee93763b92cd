"""Runs a line of shell once on every agent, also on those that come later, and starts it anew where it ends.

    python frameworks/examples/daemon.py --master 127.0.0.1:5050 --name node-watch --command 'exec sleep 1000'

It keeps nothing: a task's id is made of its agent's, so the cluster itself refuses a second one. Start it twice: one is
active, the other stands by.
"""

import argparse
from collections.abc import Sequence

import proffer
from proffer import v1

NEEDS = "cpus:0.1;mem:32"


class Daemon(proffer.Scheduler):
    def __init__(self, command: str) -> None:
        self.command = command

    async def on_standing_by(self, framework: proffer.Framework) -> None:
        print("standing by", flush=True)

    async def on_subscribed(self, framework: proffer.Framework) -> None:
        print("active", flush=True)
        # More than there are agents: whoever has room is offered, once.
        (wanted,) = proffer.demand("each", 100_000, NEEDS)
        wanted.at_most.append(v1.AtMost(count=1, agent=v1.Each()))
        await framework.set_demand("*", [wanted])

    async def on_offers(self, framework: proffer.Framework, offers: Sequence[v1.Offer]) -> None:
        for offer in offers:
            task_id = f"on-{offer.agent_id}"
            # After a change of leader or of this program nothing is launched before it is known that none is left.
            if framework.settle([task_id]):
                task = proffer.shell_task(task_id, self.command, NEEDS)
                for problem in (await framework.launch([offer], [task])).values():
                    print(offer.host, problem, flush=True)
            else:
                await framework.decline([offer], exclude_for=1)

    async def on_update(self, framework: proffer.Framework, status: v1.Status) -> None:
        if status.incarnation:  # Without one, no agent has ever heard of it.
            print(status.task_id, proffer.state_name(status.state), status.message, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--master", default="127.0.0.1:5050", help="host:port, several with commas")
    parser.add_argument("--name", default="daemon", help="the framework's name, and its id")
    parser.add_argument("--command", default="exec sleep 1000", help="the line of shell")
    options = parser.parse_args()
    proffer.run(
        Daemon(options.command), options.master, options.name, framework_id=options.name, create=True, stand_by=True
    )


if __name__ == "__main__":
    main()
