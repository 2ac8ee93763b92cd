"""A framework on pymesos, which knows nothing of Proffer: runs a task that ends and one that does not, says so line by line.

Arguments: the master (HOST:PORT or zk://…), the token. Words on standard input: `reconcile`, `kill`, `stop`.
"""

import logging
import sys
import threading

from pymesos import MesosSchedulerDriver, Scheduler

lock = threading.Lock()


def say(*words):
    with lock:
        print(*words, flush=True)


class Example(Scheduler):
    def __init__(self):
        self.wanted = {"short": "sleep 0.5", "long": "echo hello && exec sleep 1000"}

    def registered(self, driver, framework_id, master_info):
        say("registered", framework_id["value"])

    def reregistered(self, driver, master_info):
        say("reregistered", driver.framework_id)

    def disconnected(self, driver):
        say("disconnected")

    def resourceOffers(self, driver, offers):
        for offer in offers:
            names = list(self.wanted)
            tasks = [self.task(name, offer) for name in names]
            self.wanted.clear()
            if tasks:
                driver.launchTasks(offer["id"], tasks, {"refuse_seconds": 1})
            else:
                driver.declineOffer(offer["id"], {"refuse_seconds": 3600})

    def task(self, name, offer):
        scalar = lambda name, value: {"name": name, "type": "SCALAR", "scalar": {"value": value}}
        return {
            "name": name,
            "task_id": {"value": name},
            "agent_id": offer["agent_id"],
            "resources": [scalar("cpus", 0.1), scalar("mem", 32)],
            "command": {"value": self.wanted[name]},
        }

    def statusUpdate(self, driver, update):
        say("update", update["task_id"]["value"], update["state"], update.get("reason", "-"))

    def offerRescinded(self, driver, offer_id):
        say("rescinded")

    def slaveLost(self, driver, agent_id):
        say("lost", agent_id["value"])

    def error(self, driver, message):
        say("error", message)

    def processHeartBeat(self, driver):
        say("heartbeat")


def main():
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    master, token = sys.argv[1:]
    framework = {"user": "", "name": "on pymesos", "failover_timeout": 600.0, "checkpoint": True}
    driver = MesosSchedulerDriver(Example(), framework, master, principal="somebody", secret=token)
    driver.start()
    for line in sys.stdin:
        word = line.strip()
        if word == "reconcile":
            driver.reconcileTasks([{"task_id": {"value": name}} for name in ("long", "nosuch")])
        elif word == "kill":
            driver.killTask({"value": "long"})
        elif word == "stop":
            break
    driver.stop()
    driver.join()
    say("stopped")


main()
