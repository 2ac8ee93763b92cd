"""Ids as authors give them, checked before they are kept or asked about: the master reads no call in which one of them is none."""

from __future__ import annotations

import unicodedata

from proffer.limits import ID_LEN_MAX
from proffer.problem import ProfferError


def checked_id(field: str, what: str, given: object) -> str:
    """An id, by the master's rule: 1 to 200 bytes, no control character, no white space, nothing of a path."""
    why = _fault(given)
    if why or not isinstance(given, str):
        hint = "use 1 to 200 bytes without white space, '/', '\\', '%' and control characters"
        raise ProfferError("id.invalid", field, f"the {what} {why}", hint)
    return given


def _fault(given: object) -> str:
    """What is wrong with it; empty when nothing is."""
    if not isinstance(given, str):
        return f"is no text but a {type(given).__name__}"
    try:
        length = len(given.encode())
    except UnicodeEncodeError:
        return "is no text that can be encoded"
    if not length:
        return "is empty"
    if length > ID_LEN_MAX:
        return f"has {length} bytes; the limit is {ID_LEN_MAX}"
    if given in (".", ".."):
        return "is a relative path"
    for char in given:
        if char.isspace() or unicodedata.category(char) == "Cc" or char in "/\\%":
            return f"{given!r} contains {char!r}"
    return ""
