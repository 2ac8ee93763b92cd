"""What is known of each task: what its author was told, and whether it may be launched. Pure.

After a reconnect or a change of leader statuses come again. One with a smaller number than was told, or of an earlier
launch, or of an earlier state, is left out; the last one may come twice, for its author may not have kept it. A task that
comes back to life after its end was told is ended, not only hushed up.

The subtle thing: a task whose launch was not answered before the session broke may run, now or later. Its fate is open, and
it is not launched again, until a master of the new session has answered what became of it; a master does so only when no
agent is left that may still come and say that it runs it. An end that is told meanwhile decides it only where nobody but this
program can have launched the task: an agent may tell the end of an earlier launch again. When it is decided, that end is told
once more, and the task may be launched.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass

from proffer import v1
from proffer.limits import ENDED_REMEMBERED_MAX
from proffer.parts import is_terminal


class Worth(enum.Enum):
    """What a status is to the author."""

    NEWS = "it is told"
    STALE = "it is older than what was told, and left out"
    AGAIN = "no later launch is known either: the end that was told before is told again, and decides"
    REVENANT = "its end was told, and that is final: it is left out and the task is ended"


@dataclass
class _Latest:
    incarnation: int
    # The greatest; the master's own statuses have none.
    number: int
    state: int


class Tasks:
    """All tasks of a framework that the program has heard of."""

    def __init__(self, has_history: bool) -> None:
        # Whether an earlier run of the program may have launched tasks.
        self.has_history = has_history
        self._latest: dict[str, _Latest] = {}
        # Ended ones, the oldest first.
        self._ended: dict[str, None] = {}
        # In a call that has no answer yet, with the incarnation of the launch before it.
        self._flying: dict[str, int] = {}
        # Launched or told to be there, in this session or one that it resumed.
        self._live: set[str] = set()
        # Launched in an earlier session, and nobody knows what became of them; as above, or 0.
        self._open: dict[str, int] = {}
        # Of these, those of which the author was told that an unreachable agent may run them.
        self._unreachable: set[str] = set()
        # Of these, the ends that were told and did not decide it.
        self._told: dict[str, v1.Status] = {}
        # They had ended when the last session ended, and another run of the program may have launched them since.
        self._doubted: set[str] = set()

    def may_launch(self, task: str) -> bool:
        """Whether nothing that was launched under this id may still run."""
        return not (task in self._flying or task in self._live or task in self._open)

    def is_open(self, task: str) -> bool:
        """Whether it is asked what became of it."""
        return task in self._open

    def launching(self, tasks: Iterable[str]) -> None:
        """They are about to be launched. What is said of earlier launches is no news from now on."""
        for task in tasks:
            latest = self._latest.get(task)
            self._flying[task] = latest.incarnation if latest else 0

    def launched(self, task: str, incarnation: int) -> None:
        """The master took the launch; called before any status that follows the answer is weighed."""
        if self._flying.pop(task, None) is not None:
            self._set(task, _Latest(incarnation, 0, v1.TASK_STATE_STAGING))
            self._live.add(task)

    def refused(self, task: str) -> None:
        """The master did not take the launch."""
        self._flying.pop(task, None)

    def session_ended(self) -> None:
        """What was in a call that has no answer may have been launched, or not."""
        self._open.update(self._flying)
        self._flying.clear()

    def session_begun(self, is_resumed: bool) -> None:
        """Unless all that happened meanwhile is told, nothing is certain any more of what has not ended, nor, where there may be
        other runs of the program, of what has."""
        if not is_resumed:
            self._open.update(dict.fromkeys(self._live, 0))
            self._live.clear()
            if self.has_history:
                self._doubted = set(self._latest)

    def not_kept(self, task: str, again: v1.Status | None = None) -> None:
        """The handler of its last status failed: if that was its end, all its author knows is that it ran. An end that was told
        again is told once more."""
        if self.may_launch(task):
            self._open[task] = 0
            if again:
                self._told[task] = again

    def settle(self, tasks: Iterable[str]) -> set[str]:
        """Those of these that may be launched now; the others' fate is asked for, if it is not known."""
        free = {task for task in tasks if self.may_launch(task)}
        unheard = {task for task in free if task not in self._latest or task in self._doubted} if self.has_history else set()
        self._open.update(dict.fromkeys(unheard, 0))
        return free - unheard

    def unreachable(self) -> int:
        """Of how many its author was told that an agent which cannot be reached may run them."""
        return len(self._unreachable)

    def open(self) -> list[str]:
        """Those to ask the master about."""
        return sorted(self._open)

    def weigh(self, status: v1.Status) -> Worth:
        """Decides about a status, and remembers it when it is told."""
        task, latest = status.task_id, self._latest.get(status.task_id)
        if task in self._flying:
            # Of an earlier launch, or the late answer to a question.
            return Worth.STALE
        if status.incarnation == 0:
            return self._weigh_unknown(status, latest)
        if status.incarnation <= self._open.get(task, 0):
            return Worth.STALE
        worth = _weigh_known(status, latest) if latest else Worth.NEWS
        if worth is Worth.NEWS:
            same = latest if latest and latest.incarnation == status.incarnation else None
            number = max(status.number, same.number if same else 0)
            self._set(task, _Latest(status.incarnation, number, status.state))
            if self.has_history and task in self._open and is_terminal(status.state):
                # Another run of the program may have launched it since.
                self._told[task] = status
                return worth
            self._close(task)
            self._live.discard(task) if is_terminal(status.state) else self._live.add(task)
        return worth

    def take_end(self, task: str) -> v1.Status:
        """What is told again."""
        return self._told.pop(task)

    def _weigh_unknown(self, status: v1.Status, latest: _Latest | None) -> Worth:
        """The answer about a task that the master does not know. It is late when the task was launched since."""
        task, state = status.task_id, status.state
        is_ended = latest is not None and is_terminal(latest.state)
        if task in self._live:
            return Worth.STALE
        if is_terminal(state):
            worth = Worth.AGAIN if task in self._told else Worth.NEWS
            self._open.pop(task, None)
            self._unreachable.discard(task)
            self._set(task, latest if latest and is_ended else _Latest(0, 0, state))
            return worth
        # Of one whose end was told it is not known whether another launch came after it.
        if task in self._told or task in self._unreachable or (is_ended and task not in self._open):
            return Worth.STALE
        self._unreachable.add(task)
        self._open.setdefault(task, 0)
        return Worth.NEWS

    def _close(self, task: str) -> None:
        self._open.pop(task, None)
        self._unreachable.discard(task)
        self._told.pop(task, None)

    def _set(self, task: str, latest: _Latest) -> None:
        self._latest[task] = latest
        self._doubted.discard(task)
        self._ended.pop(task, None)
        if is_terminal(latest.state):
            self._ended[task] = None
            if len(self._ended) > ENDED_REMEMBERED_MAX:
                oldest = next(iter(self._ended))
                del self._ended[oldest], self._latest[oldest]


def _weigh_known(status: v1.Status, latest: _Latest) -> Worth:
    if status.incarnation != latest.incarnation:
        return Worth.NEWS if status.incarnation > latest.incarnation else Worth.STALE
    is_older = 0 < status.number < latest.number
    if is_terminal(latest.state):
        if is_older:
            return Worth.STALE
        return Worth.NEWS if is_terminal(status.state) else Worth.REVENANT
    # Out of unreachable every way is open.
    is_backwards = status.state < latest.state and latest.state != v1.TASK_STATE_UNREACHABLE
    return Worth.STALE if is_older or is_backwards else Worth.NEWS
