"""What authors pass to the SDK, checked where it is passed: a slip of theirs is a problem at once, and not silence later."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterable, Iterator
from typing import TypeVar

from google.protobuf.message import Message

from proffer.problem import ProfferError

T = TypeVar("T")
M = TypeVar("M", bound=Message)


def check_handlers(field: str, author: object, base: type) -> None:
    """Refuses what would never be called: `on_…` that is no handler; and a function that is no `async def`, of which nobody can
    tell beforehand whether what it answers with can be awaited."""
    if isinstance(author, type):
        raise _invalid(field, f"{author.__name__} is a class", f"give an instance: {author.__name__}(…)")
    known = _handlers(base)
    for name in _handlers(author):
        place = f"{type(author).__name__}.{name}"
        handler = getattr(author, name)
        if name not in known:
            nearest = difflib.get_close_matches(name, known, 1, 0)[0]
            raise _invalid(field, f"{place} is no handler, and would never be called", f"the nearest handler is {nearest}")
        # Anything else that can be called says nothing of what it answers with.
        function = inspect.unwrap(getattr(handler, "__func__", handler))
        if inspect.isfunction(function) and not inspect.iscoroutinefunction(function):
            raise _invalid(field, f"{place} is no async def", f"write async def {name}")


def several(field: str, given: Iterable[T]) -> Iterable[T]:
    """Refuses one text, which would be taken for its characters."""
    if isinstance(given, (str, bytes, bytearray)):
        raise _invalid(field, f"{given!r} is one text, not several", f"give a list: [{given!r}]")
    return given


def texts(field: str, given: Iterable[str]) -> list[str]:
    """Several texts."""
    checked = list(several(field, given))
    for text in checked:
        if not isinstance(text, str):
            raise _invalid(field, f"{text!r} is no text", "give texts")
    return checked


def messages(field: str, kind: type[M], given: Iterable[M], hint: str) -> Iterator[M]:
    """Several messages of one kind."""
    if isinstance(given, Message):
        raise _invalid(field, f"one {type(given).__name__} is no list", "give a list of them")
    for message in given:
        if not isinstance(message, kind):
            raise _invalid(field, f"a {type(message).__name__} is no {kind.__name__}", hint)
        yield message


def _handlers(of: object) -> list[str]:
    return [name for name in dir(of) if name.startswith("on_") and callable(getattr(of, name))]


def _invalid(field: str, message: str, hint: str) -> ProfferError:
    return ProfferError("field.invalid", field, message, hint)
