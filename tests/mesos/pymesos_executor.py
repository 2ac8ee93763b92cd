"""An executor on pymesos, which knows nothing of Proffer. The data of a task says how long it runs, in seconds.

Says to its framework back what its framework says to it.
"""

import logging
import sys
import threading

from pymesos import Executor, MesosExecutorDriver, decode_data, encode_data


class Example(Executor):
    def __init__(self):
        self.killed = {}

    def registered(self, driver, executor_info, framework_info, agent_info):
        logging.info("registered %s of %s", executor_info["executor_id"], framework_info["name"])

    def reregistered(self, driver, agent_info):
        logging.info("reregistered at %s", agent_info["hostname"])

    def launchTask(self, driver, task):
        self.killed[task["task_id"]["value"]] = threading.Event()
        threading.Thread(target=self.work, args=(driver, task), daemon=True).start()

    def work(self, driver, task):
        self.say(driver, task, "TASK_RUNNING")
        is_killed = self.killed[task["task_id"]["value"]].wait(float(decode_data(task["data"])))
        self.say(driver, task, "TASK_KILLED" if is_killed else "TASK_FINISHED")

    def say(self, driver, task, state):
        status = {"task_id": task["task_id"], "state": state, "data": encode_data(b"some data")}
        driver.sendStatusUpdate(status)

    def killTask(self, driver, task_id):
        self.killed[task_id["value"]].set()

    def frameworkMessage(self, driver, message):
        driver.sendFrameworkMessage(message)


logging.basicConfig(level=logging.DEBUG, stream=sys.stderr)
MesosExecutorDriver(Example()).run()
