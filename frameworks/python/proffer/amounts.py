"""Numbers as authors give them, checked before they become messages: what no message can hold is a problem like any other."""

from __future__ import annotations

import math
import operator

from proffer.problem import ProfferError

_U32_MAX = 2**32 - 1
_U64_MAX = 2**64 - 1


def milliseconds(field: str, seconds: float) -> int:
    """A time in seconds, for a message."""
    if not math.isfinite(seconds) or not 0 <= seconds <= _U64_MAX / 1000 - 1:
        raise ProfferError("field.invalid", field, f"{seconds} is no number of seconds", "give a time of 0 or more, such as 2.5")
    return round(seconds * 1000)


def duration(field: str, seconds: float) -> float:
    """A time in seconds that is waited for at most."""
    if not seconds > 0:
        raise ProfferError("field.invalid", field, f"{seconds} is no time to wait", "give more than 0 seconds")
    return seconds


def count(field: str, number: int, most: int = _U32_MAX, least: int = 0) -> int:
    """A whole number that a field of a message can hold."""
    try:
        number = operator.index(number)
    except TypeError:
        raise ProfferError("field.invalid", field, f"{number!r} is no whole number", "give a whole number") from None
    if not least <= number <= most:
        raise ProfferError("field.invalid", field, f"{number} is not from {least} to {most}", "give a number in this range")
    return number


def version(field: str, number: int | None) -> int | None:
    """A version of a key, if one is given."""
    return None if number is None else count(field, number, _U64_MAX)
