"""What an executor has said and its agent has not acknowledged, what of it a session was told, and what runs. Pure.

Statuses are told in the order in which they were said. While sixteen of a task wait, one that says more of the same state
takes the place of the last, so that what waits is bounded however long the agent is away; a change of state never gives
way. The agent takes statuses by their numbers, which grow with each: it does not miss those that are left out.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from proffer import v1
from proffer.limits import (
    EXECUTOR_MESSAGES_MAX,
    EXECUTOR_STATUSES_MAX,
    EXECUTOR_SUBSCRIBE_LEN_MAX,
    EXECUTOR_SUBSCRIBE_STATUSES_MAX,
)
from proffer.parts import is_terminal

# A task's id and its incarnation.
Launch = tuple[str, int]


@dataclass
class _Last:
    """The last status of a launch that has not ended."""

    number: int = 0
    state: int = 0
    # The agent wants it to end.
    is_to_end: bool = False


class Said:
    """What is not acknowledged, and what runs."""

    def __init__(self) -> None:
        # By task and incarnation.
        self._running: dict[str, dict[int, _Last]] = {}
        # By their places in the order in which they were said.
        self._unacknowledged: dict[int, v1.ExecutorStatus] = {}
        # The places of each launch's.
        self._places: dict[Launch, deque[int]] = {}
        # Those that the session has not been told; some may be gone.
        self._untold: deque[int] = deque()
        self._place_last = 0
        self._messages: deque[bytes] = deque()

    def launched(self, launches: Iterable[Launch]) -> None:
        """They have come. What was said of one goes on, if it has come before."""
        for task_id, incarnation in launches:
            self._running.setdefault(task_id, {}).setdefault(incarnation, _Last())

    def is_to_end(self, launch: Launch) -> bool:
        """The agent wants a launch to end; whether the author is to be told. Not when it has ended and another launch of the
        task runs: they might take it for that one."""
        task_id, incarnation = launch
        launches = self._running.get(task_id, {})
        if last := launches.get(incarnation):
            last.is_to_end = True
        return not launches or not incarnation or incarnation in launches

    def launch_of(self, task_id: str, state: int = 0) -> Launch | None:
        """The launch of a task that has not ended, and of which this state is said: of several the first, or if it is killed the
        first of those that are to end."""
        launches = self._running.get(task_id)
        if not launches:
            return None
        is_killed = state in (v1.TASK_STATE_KILLING, v1.TASK_STATE_KILLED)
        to_end = [incarnation for incarnation, last in launches.items() if is_killed and last.is_to_end]
        return task_id, min(to_end or launches)

    def say(self, launch: Launch, status: v1.ExecutorStatus) -> None:
        """Says what has become of a launch that has not ended; its number is given here."""
        task_id, incarnation = launch
        last = self._running[task_id][incarnation]
        if status.state < last.state:
            # The agent would acknowledge it, and no more.
            return
        is_same = status.state == last.state
        last.number, last.state = last.number + 1, status.state
        status.task_id, status.incarnation, status.number = task_id, incarnation, last.number
        if is_terminal(status.state):
            self._ended(launch)
        places = self._places.setdefault(launch, deque())
        if is_same and len(places) >= EXECUTOR_STATUSES_MAX:
            replaced = self._unacknowledged.pop(places.pop())
            # The agent goes by what was said last of it.
            if replaced.HasField("healthy") and not status.HasField("healthy"):
                status.healthy = replaced.healthy
        self._place_last += 1
        places.append(self._place_last)
        self._unacknowledged[self._place_last] = status
        self._tell(self._place_last)

    def send(self, data: bytes) -> None:
        """Bytes for the framework; beyond a bound they are gone."""
        if len(self._messages) < EXECUTOR_MESSAGES_MAX:
            self._messages.append(data)

    def subscribe(self) -> v1.ExecutorCall:
        """How a session begins: with as many statuses as the agent takes at once. The tasks of the others are named, and the
        statuses follow."""
        self._messages.clear()
        self._untold = deque(self._unacknowledged)
        statuses: list[v1.ExecutorStatus] = []
        length = 0
        while self._untold and len(statuses) < EXECUTOR_SUBSCRIBE_STATUSES_MAX:
            status = self._unacknowledged[self._untold[0]]
            length += status.ByteSize()
            if length > EXECUTOR_SUBSCRIBE_LEN_MAX:
                break
            statuses.append(status)
            self._untold.popleft()
        running = [(task_id, incarnation) for task_id, launches in self._running.items() for incarnation in launches]
        rest = [self._unacknowledged[place] for place in self._untold]
        named = dict.fromkeys(running + [(status.task_id, status.incarnation) for status in rest])
        tasks = [v1.ExecutorTask(task_id=task_id, incarnation=incarnation) for task_id, incarnation in named]
        return v1.ExecutorCall(subscribe=v1.SubscribeExecutor(unacknowledged=statuses, tasks=tasks))

    def next_untold(self) -> v1.ExecutorCall | None:
        """What the session is to be told next."""
        while self._untold:
            status = self._unacknowledged.get(self._untold.popleft())
            if status:
                return v1.ExecutorCall(update=status)
        return v1.ExecutorCall(message=self._messages.popleft()) if self._messages else None

    def acknowledged(self, launch: Launch, number: int) -> None:
        """The agent has all statuses of a launch up to this number on its disk."""
        places = self._places.get(launch, deque())
        while places and self._unacknowledged[places[0]].number <= number:
            del self._unacknowledged[places.popleft()]
        if not places:
            self._places.pop(launch, None)

    def is_heard(self) -> bool:
        """Whether nothing is left to be told or acknowledged."""
        return not self._unacknowledged and not self._messages

    def _ended(self, launch: Launch) -> None:
        task_id, incarnation = launch
        del self._running[task_id][incarnation]
        if not self._running[task_id]:
            del self._running[task_id]

    def _tell(self, place: int) -> None:
        if len(self._untold) > 2 * len(self._unacknowledged):
            self._untold = deque(it for it in self._untold if it in self._unacknowledged)
        self._untold.append(place)
