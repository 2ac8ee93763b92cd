"""The same framework as pymesos_framework.py, on mesoshttp or avmesos, of the user that these name: root.

Arguments: the library, the masters (http://HOST:PORT, several with commas, or zk://…/mesos), the token.
"""

import importlib
import logging
import sys
import threading

library, masters, token = sys.argv[1:]
masters = [masters] if masters.startswith("zk://") else masters.split(",")
MesosClient = importlib.import_module(f"{library}.client").MesosClient
MesosClient.WAIT_TIME = 1

lock = threading.Lock()


def say(*words):
    with lock:
        print(*words, flush=True)


class Example:
    def __init__(self):
        self.wanted = {"short": "sleep 0.5", "long": "sleep 1000"}
        self.driver = None
        self.agent = None
        self.client = MesosClient(
            mesos_urls=masters, frameworkName="on " + library, max_reconnect=1000
        )
        self.client.requests_auth = ("somebody", token) if token else None
        self.client.set_failover_timeout(600)
        self.client.on(MesosClient.SUBSCRIBED, self.subscribed)
        self.client.on(MesosClient.OFFERS, self.offers)
        self.client.on(MesosClient.UPDATE, self.update)
        self.client.on(MesosClient.ERROR, lambda error: say("error", error))
        self.client.on(MesosClient.HEARTBEAT, lambda beat: say("heartbeat"))
        self.client.on(MesosClient.DISCONNECTED, lambda text: say("disconnected"))

    def subscribed(self, driver):
        self.driver = driver
        say("registered", driver.frameworkId)

    def offers(self, offers):
        for offer in offers:
            if not self.wanted:
                offer.decline()
                continue
            tasks = [self.task(name, offer.get_offer()) for name in list(self.wanted)]
            self.agent = offer.get_offer()["agent_id"]["value"]
            self.wanted.clear()
            offer.accept(tasks)

    def task(self, name, offer):
        scalar = lambda name, value: {"name": name, "type": "SCALAR", "scalar": {"value": value}}
        return {
            "name": name,
            "task_id": {"value": name},
            "agent_id": offer["agent_id"],
            "resources": [scalar("cpus", 0.1), scalar("mem", 32)],
            "command": {"value": self.wanted[name]},
        }

    def update(self, update):
        status = update["status"]
        say("update", status["task_id"]["value"], status["state"], status.get("reason", "-"))


def main():
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    example = Example()
    threading.Thread(target=example.client.register, daemon=True).start()
    for line in sys.stdin:
        word = line.strip()
        if word == "reconcile":
            asked = [{"task_id": {"value": name}} for name in ("long", "nosuch")]
            example.driver.reconcile(asked)
        elif word == "kill":
            example.driver.kill(example.agent, "long")
        elif word == "stop":
            break
    example.driver.tearDown()
    say("stopped")


main()
