"""Shorthands for the messages that every framework makes."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation

from proffer import v1
from proffer.problem import ProfferError


def resources(text: str) -> v1.Resources:
    """Reads `cpus:0.5;mem:64;ports:[31000-31005,31010]`. Amounts are exact to the thousandth; finer ones are refused."""
    made = v1.Resources()
    for part in filter(None, (part.strip() for part in text.split(";"))):
        name, _, amount = (piece.strip() for piece in part.partition(":"))
        try:
            if amount.startswith("["):
                ranges = made.ranges.add(name=name)
                for piece in amount.strip("[]").split(","):
                    begin, _, end = piece.partition("-")
                    ranges.ranges.add(begin=int(begin), end=int(end or begin))
                continue
            milli = Decimal(amount) * 1000
            if not name or milli < 0 or milli != int(milli):
                raise ValueError
            made.scalars.add(name=name, milli=int(milli))
        except (ValueError, ArithmeticError, InvalidOperation):
            hint = "write cpus:0.5;mem:64;ports:[31000-31005]"
            raise ProfferError("resources.invalid", name, f"{part!r} is not a resource", hint) from None
    return made


def shell_task(task_id: str, line: str, needs: str, environment: Mapping[str, str] | None = None) -> v1.TaskSpec:
    """A task that runs a line of shell and needs these resources."""
    return v1.TaskSpec(id=task_id, shell=line, resources=resources(needs), environment=environment or {})


def demand(demand_id: str, count: int, needs: str) -> list[v1.DemandEntry]:
    """The wish for so many times these resources; for none, the empty wish."""
    shape = v1.Shape(resources=resources(needs))
    return [v1.DemandEntry(id=demand_id, shape=shape, count=count)] if count > 0 else []


def is_terminal(state: int) -> bool:
    """Whether a task in this state has ended."""
    return state >= v1.TASK_STATE_FINISHED


def state_name(state: int) -> str:
    """`finished` for `TASK_STATE_FINISHED`."""
    return v1.TaskState.Name(state).removeprefix("TASK_STATE_").lower()
