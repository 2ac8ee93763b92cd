"""What an operator on pymesos, which knows nothing of Proffer, asks an agent: says what runs there and what it has printed.

Argument: the agent (HOST:PORT), which lets programs of its host in.
"""

import base64
import json
import sys
from urllib.request import urlopen

from pymesos.operator_v1 import MesosOperatorAgentDriver


def main():
    agent = sys.argv[1]
    driver = MesosOperatorAgentDriver(agent)
    for container in driver.getContainers()["get_containers"]["containers"]:
        used = container["resource_statistics"]["mem_rss_bytes"]
        print("container", container["executor_id"]["value"], used > 0)
    metrics = driver.getMetrics(1000)["get_metrics"]["metrics"]
    figures = {metric["name"]: metric["value"] for metric in metrics}
    print("running", figures["slave/tasks_running"], figures["slave/registered"])
    with urlopen("http://%s/slave(1)/state" % agent) as page:
        [framework] = json.load(page)["frameworks"]
    [executor] = framework["executors"]
    directory = executor["directory"]
    files = driver.listFiles(directory)["list_files"]["file_infos"]
    print("files", *sorted(info["path"].rsplit("/", 1)[1] for info in files))
    read = {"size": 0}
    while not read["size"]:
        # It may have only just begun.
        read = driver.readFile(directory + "/stdout", 3, 2)["read_file"]
    print("read", read["size"], base64.b64decode(read["data"]).decode())
    print("version", driver.getVersion()["get_version"]["version_info"]["version"])


main()
