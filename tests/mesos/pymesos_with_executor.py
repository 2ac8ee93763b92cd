"""A framework on pymesos whose tasks are run by an executor of its own, on pymesos too.

Arguments: the master, the token, the executor's command, its PYTHONPATH. Words on standard input: `message`, `kill`, `stop`.
"""

import logging
import sys
import threading

from pymesos import MesosSchedulerDriver, Scheduler, encode_data

lock = threading.Lock()


def say(*words):
    with lock:
        print(*words, flush=True)


class Example(Scheduler):
    def __init__(self, command, path):
        self.wanted = {"short": b"0.2", "long": b"1000"}
        self.agent = None
        self.executor = {
            "executor_id": {"value": "e"},
            "resources": [scalar("cpus", 0.1), scalar("mem", 32)],
            "command": {
                "value": command,
                "environment": {"variables": [{"name": "PYTHONPATH", "value": path}]},
            },
        }

    def registered(self, driver, framework_id, master_info):
        say("registered", framework_id["value"])

    def resourceOffers(self, driver, offers):
        for offer in offers:
            names = list(self.wanted)
            if names:
                self.agent = offer["agent_id"]
                tasks = [self.task(name) for name in names]
                self.wanted.clear()
                driver.launchTasks(offer["id"], tasks, {"refuse_seconds": 1})
            else:
                driver.declineOffer(offer["id"], {"refuse_seconds": 3600})

    def task(self, name):
        return {
            "name": name,
            "task_id": {"value": name},
            "agent_id": self.agent,
            "resources": [scalar("cpus", 0.1), scalar("mem", 32)],
            "executor": self.executor if name == "short" else self.executor_in_other_words(),
            "data": encode_data(self.wanted[name]),
        }

    def executor_in_other_words(self):
        """The same one: neither order nor its grace make it another."""
        return {
            **self.executor,
            "name": "",
            "resources": self.executor["resources"][::-1],
            "shutdown_grace_period": {"nanoseconds": 7_000_000_000},
        }

    def statusUpdate(self, driver, update):
        say("update", update["task_id"]["value"], update["state"], update.get("data", "-"))

    def frameworkMessage(self, driver, executor_id, agent_id, message):
        say("message", executor_id["value"], message)

    def error(self, driver, message):
        say("error", message)


def scalar(name, value):
    return {"name": name, "type": "SCALAR", "scalar": {"value": value}}


def main():
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    master, token, command, path = sys.argv[1:]
    framework = {"user": "", "name": "on pymesos", "failover_timeout": 600.0, "checkpoint": True}
    example = Example(command, path)
    driver = MesosSchedulerDriver(example, framework, master, principal="somebody", secret=token)
    driver.start()
    for line in sys.stdin:
        word = line.strip()
        if word == "message":
            driver.sendFrameworkMessage({"value": "e"}, example.agent, encode_data(b"echo"))
        elif word == "kill":
            driver.killTask({"value": "long"})
        elif word == "stop":
            break
    driver.stop()
    driver.join()
    say("stopped")


main()
