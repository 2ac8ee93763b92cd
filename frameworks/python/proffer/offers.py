"""What fits an offer, and how it is cut up for several tasks. Pure.

What is reserved to the framework is taken before what everybody may use. Volumes, revocable resources and whole disks are
left alone: an author who wants them names them as they are offered.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from proffer import v1
from proffer.amounts import count
from proffer.parts import resources
from proffer.problem import ProfferError


@dataclass
class _Pool:
    """Resources that are alike: of one reservation, or of none."""

    reservations: tuple[v1.Reservation, ...] = ()
    scalars: dict[str, int] = field(default_factory=dict)
    # The numbers that are free, as ranges that do not touch.
    ranges: dict[str, list[tuple[int, int]]] = field(default_factory=dict)


class Remainder:
    """What is left of an offer, while its author decides about tasks. Nothing is sent."""

    def __init__(self, offer: v1.Offer) -> None:
        ordinary = _Pool()
        for scalar in offer.resources.scalars:
            ordinary.scalars[scalar.name] = ordinary.scalars.get(scalar.name, 0) + scalar.milli
        for ranges in offer.resources.ranges:
            ordinary.ranges[ranges.name] = [(one.begin, one.end) for one in ranges.ranges]
        reserved: dict[bytes, _Pool] = {}
        for one in offer.resources.special:
            if one.HasField("disk") or one.revocable or one.shared or not one.reservations:
                continue
            key = b"".join(each.SerializeToString(deterministic=True) for each in one.reservations)
            pool = reserved.setdefault(key, _Pool(tuple(one.reservations)))
            if one.WhichOneof("amount") == "milli":
                pool.scalars[one.name] = pool.scalars.get(one.name, 0) + one.milli
            elif one.WhichOneof("amount") == "ranges":
                pool.ranges.setdefault(one.name, []).extend((part.begin, part.end) for part in one.ranges.ranges)
        self._pools = [*reserved.values(), ordinary]

    def fits(self, needs: str | v1.Resources, ports: int = 0) -> int:
        """How many times these scalars, and so many ports, are there. Raises `resources.invalid` for anything else."""
        ports = count("ports", ports)
        wanted = _scalars(needs)
        counts = [self.amount(name) // milli for name, milli in wanted.items()]
        if ports:
            counts.append(sum(1 for _ in self._numbers("ports")) // ports)
        return min(counts, default=0)

    def take(self, needs: str | v1.Resources, ports: int = 0) -> v1.Resources | None:
        """Cuts off what one task needs, with so many ports, the lowest that are free; None when it does not fit. What is
        taken says of which reservation it is, as the task's resources must. Raises `resources.invalid` when anything else
        than plain scalars is needed: what is named as it is offered is added to the task's resources by its author."""
        ports = count("ports", ports)
        wanted = _scalars(needs)
        if any(self.amount(name) < milli for name, milli in wanted.items()):
            return None
        numbers = [number for number, _ in zip(self._numbers("ports"), range(ports))]
        if len(numbers) < ports:
            return None
        taken = v1.Resources()
        for name, milli in wanted.items():
            self._take_scalar(taken, name, milli)
        for number in numbers:
            self._take_number(taken, "ports", number)
        return taken

    def amount(self, name: str) -> int:
        """How much of a scalar is left, in thousandths."""
        return sum(pool.scalars.get(name, 0) for pool in self._pools)

    def _numbers(self, name: str) -> Iterator[int]:
        for pool in self._pools:
            for begin, end in sorted(pool.ranges.get(name, [])):
                yield from range(begin, end + 1)

    def _take_scalar(self, taken: v1.Resources, name: str, milli: int) -> None:
        for pool in self._pools:
            part = min(milli, pool.scalars.get(name, 0))
            if part == 0:
                continue
            pool.scalars[name] -= part
            milli -= part
            if pool.reservations:
                taken.special.add(name=name, reservations=pool.reservations, milli=part)
            else:
                taken.scalars.add(name=name, milli=part)

    def _take_number(self, taken: v1.Resources, name: str, number: int) -> None:
        for pool in self._pools:
            for at, (begin, end) in enumerate(pool.ranges.get(name, [])):
                if not begin <= number <= end:
                    continue
                left = [(begin, number - 1), (number + 1, end)]
                pool.ranges[name][at : at + 1] = [(first, last) for first, last in left if first <= last]
                _add_number(taken, name, pool.reservations, number)
                return


def fits(offer: v1.Offer, needs: str | v1.Resources | v1.DemandEntry) -> int:
    """How many times this fits the offer. Of an entry of the demand it is what the master says, which knows its predicates."""
    if isinstance(needs, v1.DemandEntry):
        return sum(fit.count for fit in offer.fits if fit.demand_id == needs.id)
    return Remainder(offer).fits(needs)


def ports(taken: v1.Resources) -> list[int]:
    """The numbers of the ports among resources."""
    ranges = [one.ranges for one in taken.ranges if one.name == "ports"]
    ranges += [one.ranges.ranges for one in taken.special if one.name == "ports"]
    return sorted(number for part in ranges for one in part for number in range(one.begin, one.end + 1))


def _scalars(needs: str | v1.Resources) -> dict[str, int]:
    wanted = resources(needs) if isinstance(needs, str) else needs
    others = [*(one.name for one in wanted.ranges), *(one.name for one in wanted.sets), *(one.name for one in wanted.special)]
    for name in others:
        hint = "give plain scalars, and ports as a number of them; add what is reserved or named to the task's resources"
        raise ProfferError("resources.invalid", "needs", f"{name} is no plain scalar", hint)
    return {scalar.name: scalar.milli for scalar in wanted.scalars if scalar.milli > 0}


def _add_number(taken: v1.Resources, name: str, reservations: tuple[v1.Reservation, ...], number: int) -> None:
    """Ranges of one name and reservation stand together."""
    if not reservations:
        kept = next((one for one in taken.ranges if one.name == name), None) or taken.ranges.add(name=name)
        ranges = kept.ranges
    else:
        alike = (one for one in taken.special if one.name == name and list(one.reservations) == list(reservations))
        special = next(alike, None) or taken.special.add(name=name, reservations=reservations, ranges=v1.RangeList())
        ranges = special.ranges.ranges
    if ranges and ranges[-1].end + 1 == number:
        ranges[-1].end = number
    else:
        ranges.add(begin=number, end=number)
