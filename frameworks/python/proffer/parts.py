"""Shorthands for the messages that every framework makes."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from proffer import amounts, v1
from proffer.problem import ProfferError


def resources(text: str) -> v1.Resources:
    """Reads `cpus:0.5;mem:64;ports:[31000-31005,31010];zones:{a,b}`, and `cpus(eng):1`, which is reserved to a role.

    Amounts are exact to the thousandth; finer ones are refused. Other kinds, such as volumes, are copied from an offer.
    """
    made = v1.Resources()
    for part in filter(None, (part.strip() for part in text.split(";"))):
        name, _, amount = (piece.strip() for piece in part.partition(":"))
        name, _, role = name.partition("(")
        try:
            if not name or (role and not role.endswith(")")):
                raise ValueError
            read = _amount(amount)
            if role:
                reservations = [v1.Reservation(role=role[:-1])]
                made.special.add(name=name, reservations=reservations, **read)
            elif "ranges" in read:
                made.ranges.add(name=name, ranges=read["ranges"].ranges)
            elif "items" in read:
                made.sets.add(name=name, items=read["items"].items)
            else:
                made.scalars.add(name=name, **read)
        except (ValueError, ArithmeticError, InvalidOperation):
            hint = "write cpus:0.5;mem:64;ports:[31000-31005]"
            raise ProfferError("resources.invalid", name, f"{part!r} is not a resource", hint) from None
    return made


def _amount(text: str) -> dict[str, Any]:
    """The field of an amount, as it is called in a special resource."""
    if text.startswith("[") and text.endswith("]"):
        pieces = (piece.partition("-") for piece in text[1:-1].split(","))
        return {"ranges": v1.RangeList(ranges=[v1.Range(begin=int(a), end=int(b or a)) for a, _, b in pieces])}
    if text.startswith("{") and text.endswith("}"):
        return {"items": v1.ItemList(items=[item.strip() for item in text[1:-1].split(",")])}
    milli = Decimal(text) * 1000
    if milli < 0 or milli != int(milli):
        raise ValueError
    return {"milli": int(milli)}


def shell_task(task_id: str, line: str, needs: str, environment: Mapping[str, str] | None = None) -> v1.TaskSpec:
    """A task that runs a line of shell and needs these resources."""
    return v1.TaskSpec(id=task_id, shell=line, resources=resources(needs), environment=environment or {})


def demand(demand_id: str, count: int, needs: str) -> list[v1.DemandEntry]:
    """The wish for so many times these resources; for none, the empty wish."""
    shape = v1.Shape(resources=resources(needs))
    count = amounts.count("count", count)
    return [v1.DemandEntry(id=demand_id, shape=shape, count=count)] if count else []


def is_terminal(state: int) -> bool:
    """Whether a task in this state has ended, also in one that this version does not know: the numbers say so."""
    return state >= v1.TASK_STATE_FINISHED


def state_name(state: int) -> str:
    """`finished` for `TASK_STATE_FINISHED`; the number of one that this version does not know."""
    if state not in v1.TaskState.values():
        return str(state)
    return v1.TaskState.Name(state).removeprefix("TASK_STATE_").lower()
