"""Keeps a session with the leading master, calls the author's handlers, acknowledges what they have handled.

One handler runs at a time, in the order of the events. A status is acknowledged when its handler has returned; if the session
breaks, or a handler fails because the master cannot be reached, the session is begun anew and what was not acknowledged comes
again. A refusal that would come again at every try ends `run`.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import contextvars
import itertools
import logging
import math
import os
import random
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from proffer import v1
from proffer.amounts import duration, milliseconds
from proffer.checks import check_handlers, messages, several, texts
from proffer.ids import checked_id
from proffer.limits import (
    ASK_DELAY,
    ASK_INTERVAL,
    BACKOFF_FIRST,
    BACKOFF_MAX,
    CALL_TIMEOUT,
    DEMAND_RETRY_INTERVAL,
    IDS_PER_CALL_MAX,
    SETTLE_WARNING_INTERVAL,
)
from proffer.masters import find_masters, parse_masters
from proffer.parts import state_name
from proffer.problem import ProfferError, Unheard, Unreachable, decode_problem
from proffer.session import Handling, Kept, OnAnswer, Pending, Session
from proffer.state import State
from proffer.tasks import Tasks, Worth
from proffer.token import find_token
from proffer.waiting import within

log = logging.getLogger("proffer")

# The handler that this runs in, or that has begun the task which this runs in.
_HANDLING: contextvars.ContextVar[Handling | None] = contextvars.ContextVar("handling", default=None)

# Refusals that would come again, whatever their kind.
_FINAL = {"session.fenced", "framework.completed", "framework.foreign", "framework.unknown"}


class Scheduler:
    """What an author decides. A handler that raises ends `Framework.run`, unless the master was out of reach."""

    async def on_subscribed(self, framework: Framework) -> None:
        """A session has begun; offers of an earlier one are void. The place to settle tasks and to say what is wanted."""

    async def on_offers(self, framework: Framework, offers: Sequence[v1.Offer]) -> None:
        """Resources are offered. Unless this is written they are declined."""
        await framework.decline(offers, exclude_for=60)

    async def on_update(self, framework: Framework, status: v1.Status) -> None:
        """A task has a new status, or the last one again. Keep what matters of it before returning, of its `data` too: what the
        master tells anew (`REASON_RECONCILED`) has none."""

    async def on_rescinded(self, framework: Framework, offer_ids: Sequence[str]) -> None:
        """Offers stand no longer."""

    async def on_agent_settled(self, framework: Framework, agent_id: str) -> None:
        """After a change of leader, this agent has said all that it runs."""

    async def on_snapshot_ended(self, framework: Framework) -> None:
        """Every task that the master knows has been told; what follows is new. Not in a session that resumes another."""

    async def on_reclaim(self, framework: Framework, reclaim: v1.Reclaim) -> None:
        """Resources are wanted back: at the deadline these tasks are killed, without one never. Start others elsewhere, or end
        them when it suits. Told again in each session; what was told last counts, and without a reason they are not wanted
        back any more."""

    async def on_message(self, framework: Framework, message: v1.ExecutorMessage) -> None:
        """An executor of the framework says something. At most once."""

    async def on_executor_ended(self, framework: Framework, ended: v1.ExecutorEnded) -> None:
        """An executor is no more; what became of its tasks comes as statuses."""

    async def on_standing_by(self, framework: Framework) -> None:
        """Another process of the framework is active; when it ends, `on_subscribed` follows here. Nothing can be called yet."""


class _Anew(Unreachable):
    """The framework has ended its session, to begin another one at once."""


class Framework:
    """A framework's connection to its cluster."""

    def __init__(
        self,
        masters: str | Sequence[str],
        name: str,
        roles: Sequence[str] = ("*",),
        *,
        framework_id: str = "",
        create: bool = False,
        stand_by: bool = False,
        id_file: str | os.PathLike[str] | None = None,
        token: str | None = None,
        failover_timeout: float | None = None,
        call_timeout: float = CALL_TIMEOUT,
        insecure_allow_plaintext: bool = False,
    ) -> None:
        """`masters` is a list of host:port, or one text with commas; any of them may lead. Or it says where in ZooKeeper they
        stand, `zk://host:port,…/path`, which needs `pip install 'proffer[zookeeper]'`. To go on as the same framework after a
        restart, give its `framework_id`, or an `id_file` that the SDK reads and writes. With `create` the id is of your own
        choice: whoever comes first registers it. With `stand_by` the program waits while another one is active as this
        framework, instead of taking over from it: start it twice. Without a `token` that of this host is looked for.
        `failover_timeout` says for how many seconds the framework is kept without a session, a week unless given.
        `insecure_allow_plaintext` lets the token travel in clear text to masters beyond this host."""
        self._allow_plaintext = insecure_allow_plaintext
        self._masters = find_masters(masters, insecure_allow_plaintext)
        self._token = token
        self._id_file = Path(id_file) if id_file else None
        if self._id_file and self._id_file.exists():
            framework_id = self._id_file.read_text().strip()
        if (create or stand_by) and not framework_id:
            hint = "give framework_id, of your own choice with create"
            raise ProfferError("config.invalid", "framework_id", "which framework it is must be known", hint)
        roles = texts("roles", roles)
        self._subscribe = v1.Subscribe(framework_id=framework_id, name=name, roles=roles, stand_by=stand_by)
        if create:
            self._subscribe.create = True
        if failover_timeout is not None:
            self._subscribe.failover_timeout_ms = milliseconds("failover_timeout", failover_timeout)
        self._call_timeout = duration("call_timeout", call_timeout)
        self._tasks = Tasks(has_history=bool(framework_id))
        # What was wanted last in each role, and of that the last that a master has taken.
        self._demands: dict[str, v1.SetDemand] = {}
        self._granted: dict[str, v1.SetDemand] = {}
        # Of what the session's master has refused for the moment, and is told again.
        self._renewals: set[asyncio.Task[None]] = set()
        # No demand has a generation that an earlier one was sent with, of whatever role and whatever became of it.
        self._generations = itertools.count(1)
        self._cluster_id = ""
        self._epoch = 0
        self._session: Session | None = None
        # What the last session has left without an answer, for the next.
        self._unanswered: list[Pending] = []
        self._requests = itertools.count(1)
        self._to_ask = asyncio.Event()
        # From when on it may be said again that an agent is waited for.
        self._warn_at = 0.0
        self._is_leaving = False
        self._has_stood_by = False
        self._wait = BACKOFF_FIRST
        # What it has said of itself last, and before an update that no master has taken yet.
        self._said = _description(self._subscribe)
        self._former: v1.Subscribe | None = None
        # The session in which it was updated, until the next one has begun: so nobody who stands by takes its place.
        self._held: Session | None = None
        # The durable values that the master keeps for the framework.
        self.state = State(self._active, call_timeout)

    @property
    def id(self) -> str:
        """The framework's id; empty before the first session."""
        return self._subscribe.framework_id

    async def run(self, scheduler: Scheduler) -> None:
        """Runs until the framework is torn down; raises when the master refuses it for good, or a handler fails. A scheduler with
        a handler that is none is refused at once (`field.invalid`)."""
        check_handlers("scheduler", scheduler, Scheduler)
        # Problems that were said since the last session.
        logged = set[str]()
        try:
            while True:
                session, problem = await self._connect(scheduler)
                if session:
                    logged.clear()
                    self._taken()
                    await self._let_go()
                    problem = await self._serve(session, scheduler)
                if isinstance(problem, _Anew):
                    log.info("it subscribes anew")
                    continue
                if not problem.retry_after:
                    await self._let_go()
                level = logging.DEBUG if problem.code in logged else logging.WARNING
                log.log(level, "no session with a master; trying on: %s", problem)
                logged.add(problem.code)
                # A master that is subscribed to too often says when to try again.
                await asyncio.sleep(max(random.uniform(self._wait / 2, self._wait), min(problem.retry_after or 0, BACKOFF_MAX)))
                self._wait = min(self._wait * 2, BACKOFF_MAX)
        except ProfferError as problem:
            # The one that was active may have torn it down.
            is_over = self._is_leaving or self._has_stood_by
            if not (is_over and problem.code == "framework.completed"):
                raise
            self._forget_id()
        finally:
            self._forget_unanswered("the sessions are over for good")
            await self._let_go()
            await self._masters.close()

    def update(
        self, name: str | None = None, roles: Sequence[str] | None = None, failover_timeout: float | None = None
    ) -> None:
        """Changes what the framework has said of itself; what is not given stays. Its session ends, and the next one begins with
        it where this one was: `on_subscribed` follows, so call it last in a handler. A program that stands by does not become
        active in between. When a master has taken it, nothing is wanted any more in roles that it leaves. A master that refuses
        it is asked for what was before; that is logged. Nothing happens when nothing changes. Without a session it is said when
        there is one."""
        timeout_ms = None if failover_timeout is None else milliseconds("failover_timeout", failover_timeout)
        roles = None if roles is None else texts("roles", roles)
        if name is not None:
            self._subscribe.name = name
        if roles is not None:
            self._subscribe.roles[:] = roles
        if timeout_ms is not None:
            self._subscribe.failover_timeout_ms = timeout_ms
        # What is said while there is no session is said when there is one.
        if self._session:
            self._end_if_updated(self._session)

    def _end_if_updated(self, session: Session) -> None:
        """Ends a session that has begun with something else than what the framework says of itself now."""
        if _description(self._subscribe) != self._said:
            session.end(_Anew("the framework subscribes anew"))

    def _subscription(self, master: str) -> v1.Subscribe:
        """What is said to this master. Where its own session is still held it takes over from that, and waits for nobody."""
        described = _description(self._subscribe)
        if described != self._said:
            self._former, self._said = self._former or self._said, described
        subscription = v1.Subscribe()
        subscription.CopyFrom(self._subscribe)
        if self._is_active_with(master):
            subscription.stand_by = False
        return subscription

    def _is_active_with(self, master: str) -> bool:
        """Whether its own session is still active with the master at this address, as far as can be told."""
        return self._held is not None and self._held.is_open and self._held.master == master

    def _taken(self) -> None:
        """A master has taken what the framework says of itself: nothing is wanted any more in roles that it has left so."""
        if self._former:
            for role in self._demands.keys() - set(self._said.roles):
                del self._demands[role]
                self._granted.pop(role, None)
        self._former = None

    def _take_back(self, problem: ProfferError) -> bool:
        """What the framework says of itself is refused; whether it says what it was before, or what it was told since."""
        if not self._former or problem.kind not in (v1.PROBLEM_KIND_INVALID, v1.PROBLEM_KIND_FORBIDDEN):
            return False
        log.warning("what the framework says of itself is refused, and stays what it was: %s", problem)
        refused, self._said, self._former = self._said, self._former, None
        if _description(self._subscribe) == refused:
            self._subscribe.ClearField("roles")
            self._subscribe.ClearField("failover_timeout_ms")
            self._subscribe.MergeFrom(self._said)
        return True

    async def _let_go(self) -> None:
        held, self._held = self._held, None
        if held:
            await held.close()

    async def set_demand(self, role: str, entries: Iterable[v1.DemandEntry]) -> None:
        """Replaces what is wanted in a role; no entries: nothing is offered. The master counts each launch down from the entry
        that it was offered for, and nothing up again: with a count of 1, nothing more is offered after one launch. To want
        another one, say it anew. What was said last is kept as it was said, and said again in each session before
        `on_subscribed`: say there what is wanted by then. When it is refused, what was wanted before still is."""
        wanted = v1.SetDemand(role=role, generation=next(self._generations), entries=entries)
        self._demands[role] = wanted
        try:
            await self._call(set_demand=wanted)
            self._granted[role] = wanted
        except Unreachable:
            # The next session begins with it.
            pass
        except ProfferError:
            # Another one may have replaced it meanwhile, or a session begun with it.
            if self._demands.get(role) is wanted and self._granted.get(role) is not wanted:
                self._put_back(role)
                raise

    def _put_back(self, role: str) -> None:
        """What was wanted last is refused, and the master still goes by what it has taken before."""
        if role in self._granted:
            self._demands[role] = self._granted[role]
        else:
            del self._demands[role]

    async def _renew_demand(self, session: Session, role: str, is_aside: bool = False) -> None:
        """Says in a session that begins what is wanted in a role."""
        while wanted := self._demands.get(role):
            wanted.generation = next(self._generations)
            try:
                await self._call_in(session, None, is_aside, set_demand=wanted)
                self._granted[role] = wanted
                return
            except Unreachable:
                # The next session does it anew.
                return
            except ProfferError as problem:
                log.warning("the master refused what is wanted in role %s: %s", role, problem)
                if self._demands.get(role) is not wanted:
                    return
                if problem.kind not in (v1.PROBLEM_KIND_INVALID, v1.PROBLEM_KIND_FORBIDDEN):
                    self._renew_later(session, role, problem.retry_after or DEMAND_RETRY_INTERVAL)
                    return
                if self._granted.get(role) is wanted:
                    return
                # This session has not been told what was wanted before.
                self._put_back(role)

    def _renew_later(self, session: Session, role: str, wait: float) -> None:
        """What is wanted was refused for the moment: it is said again, unless the author has said more by then."""
        wanted = self._demands[role]

        async def renew() -> None:
            await asyncio.sleep(wait)
            if self._demands.get(role) is wanted:
                await self._renew_demand(session, role, is_aside=True)

        renewal = asyncio.create_task(renew())
        self._renewals.add(renewal)
        renewal.add_done_callback(self._renewals.discard)

    async def launch(self, offers: Sequence[v1.Offer], tasks: Sequence[v1.TaskSpec]) -> dict[str, ProfferError]:
        """Launches tasks with offers of one agent and one role; what the tasks leave of them goes back. Answers with those that
        are refused, and why; what becomes of the others comes as statuses, also when this raises `Unreachable`. Of an id
        that is given twice neither is launched."""
        tasks = list(messages("tasks", v1.TaskSpec, tasks, "give tasks, and operations to accept"))
        offer_ids = _offer_ids(offers)
        refused = {task_id: _repeated(task_id) for task_id in _given_twice(task.id for task in tasks)}
        refused |= {task.id: self._duplicate(task.id) for task in tasks if not self._tasks.may_launch(task.id)}
        launches = [v1.Operation(launch=task) for task in tasks if task.id not in refused]
        try:
            results = await self._accept(offer_ids, launches)
        except Unreachable:
            raise
        except ProfferError as problem:
            return refused | {operation.launch.id: problem for operation in launches}
        for result in _launches(results):
            if result.HasField("refused"):
                refused[result.task_id] = decode_problem(result.refused)
        return refused

    async def accept(self, offers: Sequence[v1.Offer], operations: Sequence[v1.Operation]) -> Sequence[v1.OperationResult]:
        """Does operations with offers of one agent and one role, one after the other: launches, groups of launches that stand or
        fall together, reservations, volumes. A result for each, in order; what one makes, the next may use. Raises when the
        offers do not stand; and, before anything is sent, when a task may not be launched yet or is named twice: then the offers
        stay the framework's until they are declined or expire."""
        hint = "give tasks to launch, or here as Operation(launch=task)"
        task_ids = _task_ids(operations := list(messages("operations", v1.Operation, operations, hint)))
        for task_id in _given_twice(task_ids):
            raise _repeated(task_id)
        for task_id in task_ids:
            if not self._tasks.may_launch(task_id):
                raise self._duplicate(task_id)
        return await self._accept(_offer_ids(offers), operations)

    def _duplicate(self, task_id: str) -> ProfferError:
        """Why an id is not launched."""
        message = f"{task_id} was launched before, and its end has not been told"
        if self._tasks.is_open(task_id):
            message = f"{task_id} is being settled: it is not known yet whether a launch of it runs"
        hint = "wait for its status; after a change of leader it comes when the agents are back"
        return ProfferError("task.duplicate", "launches", message, hint, v1.PROBLEM_KIND_CONFLICT)

    async def _accept(self, offer_ids: list[str], operations: Sequence[v1.Operation]) -> Sequence[v1.OperationResult]:
        task_ids = _task_ids(operations)
        is_answered = False

        def on_answer(answered: v1.Answered) -> None:
            # Whoever called may have been cancelled.
            nonlocal is_answered
            is_answered = True
            for task_id in task_ids if answered.HasField("refused") else ():
                self._tasks.refused(task_id)
            for result in _launches(answered.accepted.results):
                if result.HasField("refused"):
                    self._tasks.refused(result.task_id)
                else:
                    self._tasks.launched(result.task_id, result.incarnation)

        self._tasks.launching(task_ids)
        try:
            accept = v1.Accept(offer_ids=offer_ids, operations=operations)
            answered = await self._call(on_answer, accept=accept)
        except Unreachable:
            if self._session is None:
                self._tasks.session_ended()
            raise
        except ProfferError:
            # Answered, they may be launched again by now.
            for task_id in () if is_answered else task_ids:
                self._tasks.refused(task_id)
            raise
        return list(answered.accepted.results)

    async def decline(self, offers: Sequence[v1.Offer], exclude_for: float = 5.0) -> None:
        """Gives offers back; for so many seconds their agent is not offered again for what they fitted."""
        exclude_for_ms = milliseconds("exclude_for", exclude_for)
        await self._call(decline=v1.Decline(offer_ids=_offer_ids(offers), exclude_for_ms=exclude_for_ms))

    async def kill(self, task_id: str, grace: float | None = None) -> None:
        """Ends a task: SIGTERM, and SIGKILL after so many seconds or the task's own time. How it ended is a status."""
        grace_ms = None if grace is None else milliseconds("grace", grace)
        await self._call(kill=v1.Kill(task_id=task_id, grace_ms=grace_ms))

    async def update_task(
        self, task_id: str, labels: Mapping[str, str] | None = None, kill_grace: float | None = None
    ) -> None:
        """Changes a task that runs, without restarting it: all of its labels, or its time from SIGTERM to SIGKILL."""
        grace_ms = None if kill_grace is None else milliseconds("kill_grace", kill_grace)
        wanted = None if labels is None else v1.Labels(labels=labels)
        await self._call(update_task=v1.UpdateTask(task_id=task_id, labels=wanted, kill_grace_ms=grace_ms))

    async def send_message(self, agent_id: str, executor_id: str, data: bytes) -> None:
        """Sends at most 64 KiB to an executor, which gets it at most once: have it answer what matters."""
        await self._call(send_message=v1.SendMessage(agent_id=agent_id, executor_id=executor_id, data=data))

    async def shutdown_executor(self, agent_id: str, executor_id: str) -> None:
        """Asks an executor to end, with its tasks."""
        await self._call(shutdown_executor=v1.ShutdownExecutor(agent_id=agent_id, executor_id=executor_id))

    def settle(self, task_ids: Iterable[str]) -> set[str]:
        """Answers which of these may be launched now. Of the others the SDK asks the master what became of them until it
        knows: they come as statuses, `lost` when no agent knows them, `unreachable` as long as an agent that cannot be reached
        may. For ids that an earlier run may have launched; one that nobody can have launched needs none, and would only wait.
        What is no id of a task is refused (`id.invalid`)."""
        free = self._tasks.settle([checked_id("task_ids", "task id", task_id) for task_id in several("task_ids", task_ids)])
        self._to_ask.set()
        return free

    async def teardown(self) -> None:
        """Ends the framework: its tasks are killed, its id is spent. `run` returns."""
        self._is_leaving = True
        await self._call(teardown=v1.Teardown())
        self._forget_id()

    def _forget_id(self) -> None:
        # It is spent: a start that goes on as this framework would be refused.
        if self._id_file:
            self._id_file.unlink(missing_ok=True)

    def _active(self) -> Session:
        if self._session is None or self._session.ended:
            raise Unreachable("no session is active", "it is begun anew; go on in on_subscribed")
        return self._session

    async def _call(self, on_answer: OnAnswer | None = None, **call: object) -> v1.Answered:
        return await self._call_in(self._active(), on_answer, False, **call)

    async def _call_in(
        self, session: Session, on_answer: OnAnswer | None = None, is_aside: bool = False, **call: object
    ) -> v1.Answered:
        """Calls in this session, and where that does no harm in the next one, if this ends before the answer. A handler that
        runs does not wait for that. What is above the rate was not done, and is called again when the master says, in time.
        For a call aside from the handlers nothing is read beyond what may wait for them, so it takes any time."""
        handling = _HANDLING.get()
        own = handling if handling and handling.framework is self else None
        seconds = math.inf if is_aside else self._call_timeout
        pending = session.send(on_answer, own, seconds, not is_aside, **call)
        try:
            answered = await pending.answered(seconds)
        except Kept:
            return v1.Answered()
        except asyncio.TimeoutError:
            session.end(Unreachable(f"a call had no answer within {self._call_timeout:g} s"))
            raise Unreachable("the call had no answer") from None
        if answered.HasField("refused"):
            raise decode_problem(answered.refused)
        return answered

    async def _insist(self, session: Session, is_aside: bool = False, **call: object) -> None:
        """A call of the SDK's own."""
        try:
            await self._call_in(session, None, is_aside, **call)
        except Unreachable:
            # The next session does it anew.
            pass
        except ProfferError as problem:
            log.warning("the master refused what the SDK called by itself: %s", problem)

    async def _connect(self, scheduler: Scheduler) -> tuple[Session | None, ProfferError]:
        """One round through the masters, beginning with the one that led last; raises what would be refused again."""
        try:
            candidates, tried = await self._masters.candidates(), set[str]()
        except Unreachable as nobody:
            return None, nobody
        problem: ProfferError = Unreachable("no master is given")
        while candidates:
            master = candidates.pop(0)
            if master in tried:
                continue
            tried.add(master)
            token, missing = self._find_token()
            session = Session(master, token, self._requests)
            try:
                await session.open(self._subscription(master), lambda told: self._stand_by(scheduler, master, told))
                self._believe(session)
                self._masters.led(master)
                return session, problem
            except BaseException as error:
                await session.close()
                if not isinstance(error, ProfferError):
                    raise
                if isinstance(error, _Anew):
                    # To the same master, which is known by now.
                    candidates.insert(0, master)
                    tried.discard(master)
                    continue
                if self._take_back(error):
                    return None, _Anew("the framework subscribes as it was")
                if self._is_final(error):
                    raise
                if missing and (error.kind == v1.PROBLEM_KIND_UNAUTHENTICATED or isinstance(error, Unheard)):
                    error = missing
                # The leader may have said when to come back, and the others that they do not lead.
                problem = max(error, problem, key=lambda it: it.retry_after or 0)
                with contextlib.suppress(ProfferError):
                    candidates[:0] = parse_masters(error.leader, self._allow_plaintext)
        return None, problem

    async def _stand_by(self, scheduler: Scheduler, master: str, told: v1.SessionEvent) -> None:
        held, term = self._held, (told.standing_by.cluster_id, told.epoch)
        if held and held.is_open and not self._is_active_with(master) and (self._cluster_id, held.epoch) == term:
            # The master has another address, too: what would be waited for is its own session.
            held.master = master
            raise _Anew("the framework subscribes where its own session is")
        await self._let_go()
        self._has_stood_by = True
        self._forget_unanswered("another program is active as this framework")
        await scheduler.on_standing_by(self)

    def _find_token(self) -> tuple[str | None, ProfferError | None]:
        try:
            return self._token or find_token(), None
        except ProfferError as missing:
            return None, missing

    def _is_final(self, problem: ProfferError) -> bool:
        """Whether another try would be refused the same. The first start of a master may still have to make the token."""
        kinds = {v1.PROBLEM_KIND_INVALID, v1.PROBLEM_KIND_FORBIDDEN}
        if self._token:
            kinds.add(v1.PROBLEM_KIND_UNAUTHENTICATED)
        # Who stands by takes nothing away from the one that took over.
        is_waiting = self._subscribe.stand_by and problem.code == "session.fenced"
        return not is_waiting and (problem.kind in kinds or problem.code in _FINAL)

    def _believe(self, session: Session) -> None:
        """Refuses a master of another cluster, or of an earlier term; otherwise goes on as what it says."""
        subscribed = session.subscribed
        if self._cluster_id not in ("", subscribed.cluster_id):
            message = f"{session.master} is of cluster {subscribed.cluster_id}, the framework of {self._cluster_id}"
            raise ProfferError("framework.unknown", "masters", message, "list only masters of one cluster")
        self._check_epoch(session.epoch)
        self._cluster_id = subscribed.cluster_id
        if self._id_file and self.id != subscribed.framework_id:
            part = self._id_file.with_name(self._id_file.name + ".part")
            part.write_text(subscribed.framework_id + "\n")
            part.replace(self._id_file)
        self._subscribe.framework_id = subscribed.framework_id

    def _check_epoch(self, epoch: int) -> None:
        if epoch < self._epoch:
            message = f"the master is of epoch {epoch}; {self._epoch} has been seen"
            hint = "another master leads; if the store was rebuilt, raise its epoch"
            raise ProfferError("epoch.stale", "", message, hint, v1.PROBLEM_KIND_CONFLICT)
        self._epoch = epoch

    def _forget_unanswered(self, why: str) -> None:
        """What was called is not called again: who is active meanwhile knows better."""
        unanswered, self._unanswered = self._unanswered, []
        for pending in unanswered:
            if pending.is_kept:
                log.warning("%s was called in a handler, and is not called again: %s", pending.message.WhichOneof("call"), why)
            elif not pending.answer.done():
                pending.answer.set_exception(Unreachable(why))
                # Nobody may be waiting; that is no fault.
                pending.answer.exception()

    async def _serve(self, session: Session, scheduler: Scheduler) -> ProfferError:
        """Answers why the session ended, if another one may follow."""
        log.info("subscribed to %s as %s, epoch %s", session.master, self.id, session.epoch)
        self._session = session
        self._tasks.session_begun(session.subscribed.resumed)
        if self._subscribe.resume.epoch != session.epoch:
            self._subscribe.ClearField("resume")
        elif not session.subscribed.resumed:
            # What this program was told is not all that was told since.
            self._forget_unanswered("another program may have been active as this framework")
        session.begin(self._check_epoch)
        background = [
            asyncio.create_task(self._keep_asking(session)),
            asyncio.create_task(self._follow(session)),
        ]
        try:
            self._end_if_updated(session)
            if not session.ended:
                await self._handle_events(session, scheduler)
        except ProfferError as problem:
            # The session broke under the handler.
            if problem.kind != v1.PROBLEM_KIND_UNAVAILABLE and problem.code != "session.fenced":
                raise
            if problem.code == "session.fenced":
                await self._hear_out(session)
            session.end(problem)
        finally:
            session.end(Unreachable("the session was left"))
            background += self._renewals
            for task in background:
                task.cancel()
            await asyncio.gather(*background, return_exceptions=True)
            self._unanswered += session.unanswered
            if isinstance(session.ended, _Anew):
                self._held = session
            else:
                await session.close()
            self._session = None
            self._tasks.session_ended()
        why = session.ended or Unreachable("the session ended")
        if why.code == "session.fenced":
            self._forget_unanswered("another program has taken over")
        if session.is_refused and self._is_final(why):
            raise why
        return why

    async def _hear_out(self, session: Session) -> None:
        """Waits for the end of a session of which the master says that it is not active: why it ended decides whether another
        one may follow. What is left out comes again there."""

        async def until_it_ends() -> None:
            while await session.next_event():
                pass

        with contextlib.suppress(asyncio.TimeoutError):
            await within(self._call_timeout, until_it_ends())

    async def _handle_events(self, session: Session, scheduler: Scheduler) -> None:
        # Before anything new is called, which these must not come after.
        unanswered, self._unanswered = self._unanswered, []
        for pending in unanswered:
            session.repeat(pending)
        for role in list(self._demands):
            await self._renew_demand(session, role)
        if session.subscribed.resumed:
            self._to_ask.set()
        if self._is_leaving:
            await self.teardown()
        with self._handling():
            await scheduler.on_subscribed(self)
        self._wait = BACKOFF_FIRST
        while event := await session.next_event():
            with self._handling():
                await self._handle(session, scheduler, event)

    @contextlib.contextmanager
    def _handling(self) -> Iterator[None]:
        """A handler runs."""
        handling = Handling(self)
        before = _HANDLING.set(handling)
        try:
            yield
        finally:
            handling.is_over = True
            _HANDLING.reset(before)

    async def _handle(self, session: Session, scheduler: Scheduler, event: v1.SessionEvent) -> None:
        kind = event.WhichOneof("event")
        if kind == "offered":
            await scheduler.on_offers(self, event.offered.offers)
        elif kind == "rescinded":
            await scheduler.on_rescinded(self, event.rescinded.offer_ids)
        elif kind == "agent_settled":
            self._to_ask.set()
            await scheduler.on_agent_settled(self, event.agent_settled.agent_id)
        elif kind == "snapshot_ended":
            # What it did not tell is asked for.
            self._to_ask.set()
            await scheduler.on_snapshot_ended(self)
            self._acknowledge(session, event)
        elif kind == "reclaim":
            await scheduler.on_reclaim(self, event.reclaim)
        elif kind == "message":
            await scheduler.on_message(self, event.message)
        elif kind == "executor_ended":
            await scheduler.on_executor_ended(self, event.executor_ended)
        elif kind == "updated":
            worth = self._tasks.weigh(event.updated)
            log.debug("%s is %s: %s", event.updated.task_id, state_name(event.updated.state), worth.value)
            if worth in (Worth.NEWS, Worth.AGAIN):
                status = self._tasks.take_end(event.updated.task_id) if worth is Worth.AGAIN else event.updated
                try:
                    await scheduler.on_update(self, status)
                except Exception:
                    self._tasks.not_kept(event.updated.task_id, status if worth is Worth.AGAIN else None)
                    raise
            elif worth is Worth.REVENANT:
                await self._insist(session, kill=v1.Kill(task_id=event.updated.task_id))
            self._acknowledge(session, event)

    def _acknowledge(self, session: Session, event: v1.SessionEvent) -> None:
        # Everything before it has been handled too.
        session.send(acknowledge=v1.Acknowledge(sequence=event.sequence))
        self._subscribe.resume.epoch, self._subscribe.resume.sequence = session.epoch, event.sequence

    async def _follow(self, session: Session) -> None:
        """Leaves a master that leads no longer, even if it has yet to notice."""
        await self._masters.overtaken(session.master)
        session.end(Unreachable("another master leads by now"))

    async def _keep_asking(self, session: Session) -> None:
        """Asks about tasks of unknown fate: at the beginning, when an agent has settled, and now and then."""
        clock = asyncio.get_running_loop()
        while not session.ended:
            timer = clock.call_later(ASK_INTERVAL, self._to_ask.set)
            try:
                await self._to_ask.wait()
            finally:
                timer.cancel()
            await asyncio.sleep(ASK_DELAY)
            self._to_ask.clear()
            tasks = self._tasks.open()
            for first in range(0, len(tasks), IDS_PER_CALL_MAX):
                asked = v1.Reconcile(task_ids=tasks[first : first + IDS_PER_CALL_MAX])
                await self._insist(session, is_aside=True, reconcile=asked)
            self._warn_of_unreachable()

    def _warn_of_unreachable(self) -> None:
        """Says now and then why tasks are not settled: nothing else tells who wonders what their program waits for."""
        count, now = self._tasks.unreachable(), asyncio.get_running_loop().time()
        if count and now >= self._warn_at:
            self._warn_at = now + SETTLE_WARNING_INTERVAL
            log.warning("%s ids wait to be settled: an agent that may run them is unreachable", count)


def run(scheduler: Scheduler, masters: str | Sequence[str], name: str, **options: Any) -> None:
    """For programs that do nothing else: runs as a `Framework` of these masters, name and options until it is torn down. A
    problem ends the program with a sentence."""
    try:
        asyncio.run(Framework(masters, name, **options).run(scheduler))
    except ProfferError as problem:
        sys.exit(f"{name}: {problem}")
    except KeyboardInterrupt:
        sys.exit(130)


def _description(subscribe: v1.Subscribe) -> v1.Subscribe:
    """What the framework says of itself, and nothing else."""
    timeout_ms = subscribe.failover_timeout_ms if subscribe.HasField("failover_timeout_ms") else None
    return v1.Subscribe(name=subscribe.name, roles=subscribe.roles, failover_timeout_ms=timeout_ms)


def _offer_ids(offers: Iterable[v1.Offer]) -> list[str]:
    return [offer.id for offer in messages("offers", v1.Offer, offers, "give offers as on_offers has them")]


def _task_ids(operations: Iterable[v1.Operation]) -> list[str]:
    """The tasks that these are to launch."""
    return [task.id for it in operations for task in ([it.launch] if it.HasField("launch") else it.launch_group.tasks)]


def _launches(results: Iterable[v1.OperationResult]) -> list[v1.LaunchResult]:
    """What became of each task."""
    return [one for it in results for one in ([it.launched] if it.HasField("launched") else it.launched_group.results)]


def _given_twice(task_ids: Iterable[str]) -> list[str]:
    return [task_id for task_id, count in collections.Counter(task_ids).items() if count > 1]


def _repeated(task_id: str) -> ProfferError:
    # The master would take the first, and an answer by id could not say so.
    message, hint = f"{task_id} is given twice in one call", "launch each task under an id of its own"
    return ProfferError("task.duplicate", "launches", message, hint, v1.PROBLEM_KIND_CONFLICT)

