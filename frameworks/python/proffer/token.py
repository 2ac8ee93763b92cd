"""Finds the token of this host, by the same rule as the servers and the command line. The token is never shown."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from proffer.limits import TOKEN_FILE_LEN_MAX
from proffer.problem import ProfferError

_HINT = "start a master on this host, or name the file in PROFFER_TOKEN_FILE"


def token_path(environment: Mapping[str, str], is_root: bool) -> Path:
    """`$PROFFER_TOKEN_FILE`; else `/var/lib/proffer/token` for root; else `proffer/token` in `$XDG_STATE_HOME` or
    `~/.local/state`. An empty variable counts as unset, a relative directory is ignored."""
    if environment.get("PROFFER_TOKEN_FILE"):
        return Path(environment["PROFFER_TOKEN_FILE"])
    if is_root:
        return Path("/var/lib/proffer/token")
    for variable, below in (("XDG_STATE_HOME", ""), ("HOME", ".local/state")):
        folder = Path(environment.get(variable, ""))
        if folder.is_absolute():
            return folder / below / "proffer/token"
    raise ProfferError("config.invalid", "", "the token's place is unknown: HOME is not set", _HINT)


def find_token() -> str:
    """The token of this host; `auth.missing` when there is no such file."""
    path = token_path(os.environ, os.geteuid() == 0)
    try:
        with path.open("rb") as file:
            text = file.read(TOKEN_FILE_LEN_MAX).decode("ascii", "replace").strip()
    except FileNotFoundError:
        raise ProfferError("auth.missing", "", f"there is no token file {path}", _HINT) from None
    except OSError as error:
        raise ProfferError("file.failed", "", f"the token file {path} cannot be read: {error.strerror}", _HINT) from None
    if len(text) != 64 or not all(character in "0123456789abcdefABCDEF" for character in text):
        raise ProfferError("config.invalid", "", f"{path} does not hold 64 hexadecimal digits", _HINT)
    return text.lower()
