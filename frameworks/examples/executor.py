"""An executor of a framework's own: each of its tasks is a line of shell, given as the task's data. It keeps running tasks
when its agent restarts, answers messages of its framework, and says how many tasks it has had.

A framework names it in the tasks that it launches: `executor=v1.ExecutorSpec(id="shells", exec=v1.Exec(arguments=[python,
this file]))` and `data=line`; the agent starts it with the first of them.
"""

import asyncio
import os
from collections.abc import Sequence

from proffer import executor, v1


class Shells(executor.Executor):
    def __init__(self) -> None:
        self.running: dict[str, asyncio.Task[None]] = {}  # The tasks that run, each with what runs it.
        self.launched = 0

    async def on_launch(self, agent: executor.Agent, tasks: Sequence[v1.LaunchExecutorTask]) -> None:
        for task in tasks:
            self.launched += 1
            self.running[task.spec.id] = asyncio.create_task(self.shell(agent, task.spec))

    async def on_kill(self, agent: executor.Agent, task_id: str, grace: float) -> None:
        if task_id in self.running:
            self.running[task_id].cancel()

    async def on_message(self, agent: executor.Agent, data: bytes) -> None:
        agent.message(data + b": %d tasks" % self.launched)

    async def on_shutdown(self, agent: executor.Agent, grace: float) -> None:
        tasks = list(self.running.values())
        for task in tasks:
            task.cancel()
        # What they say comes before the end.
        await asyncio.gather(*tasks, return_exceptions=True)

    async def shell(self, agent: executor.Agent, spec: v1.TaskSpec) -> None:
        """Runs a task to its end, or until it is cancelled."""
        process = None
        try:
            if spec.WhichOneof("command") != "data":
                agent.update(spec.id, v1.TASK_STATE_ERROR, "its command is no data")
                return
            environment = os.environ | {"PROFFER_TASK_ID": spec.id}
            process = await asyncio.create_subprocess_shell(spec.data.decode(), env=environment)
            agent.update(spec.id, v1.TASK_STATE_RUNNING)
            code = await process.wait()
            state = v1.TASK_STATE_FAILED if code else v1.TASK_STATE_FINISHED
            exited, signalled = (code, None) if code >= 0 else (None, -code)
            agent.update(spec.id, state, exit_code=exited, exit_signal=signalled)
        except asyncio.CancelledError:
            if process:
                process.kill()
                await process.wait()
            agent.update(spec.id, v1.TASK_STATE_KILLED, "it was told to end")
        except OSError as error:
            agent.update(spec.id, v1.TASK_STATE_FAILED, str(error))
        finally:
            del self.running[spec.id]


if __name__ == "__main__":
    executor.run(Shells())
