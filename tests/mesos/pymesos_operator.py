"""An operator on pymesos, which knows nothing of Proffer: says what it hears of the cluster, and sets a quota.

Argument: the master (HOST:PORT), which lets programs of its host in. Words on standard input: `look`, `quota`, `stop`.
"""

import logging
import sys
import threading

from pymesos.interface import OperatorMaster
from pymesos.operator_v1 import MesosOperatorMasterDriver

lock = threading.Lock()


def say(*words):
    with lock:
        print(*words, flush=True)


class Example(OperatorMaster):
    def taskAdded(self, task):
        say("task-added", task["task_id"]["value"], task["state"])

    def taskUpdated(self, update):
        say("task-updated", update["status"]["task_id"]["value"], update["state"])

    def frameworkAdded(self, framework):
        say("framework-added", framework["framework_info"]["name"])

    def frameworkUpdated(self, framework):
        say("framework-updated", framework["framework_info"]["name"])

    def frameworkRemoved(self, framework_info):
        say("framework-removed", framework_info["name"])

    def agentAdded(self, agent):
        say("agent-added", agent["agent_info"]["id"]["value"])

    def agentRemoved(self, agent_id):
        say("agent-removed", agent_id)


class Driver(MesosOperatorMasterDriver):
    def on_subscribed(self, info):
        say("subscribed", len(info["get_state"]["get_agents"]["agents"]))


def look(driver):
    state = driver.getState()["get_state"]
    for agent in state["get_agents"]["agents"]:
        say("agent", agent["agent_info"]["hostname"], agent["active"])
    for task in driver.getTasks()["get_tasks"]["tasks"]:
        say("task", task["task_id"]["value"], task["state"])
    version = driver.getVersion()["get_version"]["version_info"]["version"]
    say("looked", version, driver.getHealth()["get_health"]["healthy"])


def set_quota(driver):
    cpus = {"name": "cpus", "type": "SCALAR", "scalar": {"value": 1.5}}
    driver.setQuota({"role": "web", "guarantee": [cpus]})
    [config] = driver.getQuota()["get_quota"]["status"]["configs"]
    say("quota", config["role"], config["limits"]["cpus"]["value"])


def main():
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    driver = Driver(sys.argv[1], Example())
    driver.start()
    for line in sys.stdin:
        word = line.strip()
        if word == "look":
            look(driver)
        elif word == "quota":
            set_quota(driver)
        elif word == "stop":
            break
    driver.stop()
    driver.join()
    say("stopped")


main()
