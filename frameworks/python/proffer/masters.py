"""Where the masters are, as an author writes it: addresses, or where ZooKeeper says that masters stand.

A token travels with every call, so masters beyond this host are refused unless clear text is allowed in so many words. What
is shown never holds a password.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass

from proffer.limits import MASTERS_MAX, ZOOKEEPER_HOSTS_MAX, ZOOKEEPER_PATH_LEN_MAX
from proffer.problem import ProfferError

_HINT = "write host:port of each master, or where they stand: zk://host:port,host:port/proffer"
_URL_HINT = "write zk://[user:password@]host[:port],…/path, such as zk://zk1:2181,zk2:2181,zk3:2181/proffer"
_PLAIN_HINT = "connect to 127.0.0.1, or set insecure_allow_plaintext=True on a network you trust"
# Where a ZooKeeper listens when its port is not said.
_PORT_DEFAULT = 2181


class Masters:
    """A list of them; any of them may lead."""

    def __init__(self, addresses: Sequence[str]) -> None:
        self._addresses = list(addresses)

    async def candidates(self) -> list[str]:
        """Whom to try now, the likeliest leader first. Raises `Unreachable` when that cannot be found out."""
        return list(self._addresses)

    def led(self, master: str) -> None:
        """This one leads."""
        self._addresses.sort(key=lambda known: known != master)

    async def overtaken(self, master: str) -> None:
        """Waits until another than this one leads; for ever, where nobody would say so."""
        await asyncio.Event().wait()

    async def close(self) -> None:
        """Lets go of whatever it holds."""


@dataclass
class ZooKeeperUrl:
    """An ensemble, and the path of an election there. To read who leads takes no password."""

    hosts: list[tuple[str, int]]
    path: str

    def is_loopback(self) -> bool:
        """Whether every server is on this host, so that nothing that comes from there was written on the way."""
        return all(_is_loopback(name) for name, _ in self.hosts)

    def __str__(self) -> str:
        return "zk://" + self.servers() + self.path

    def servers(self) -> str:
        """`host:port` of each, with commas between them."""
        return ",".join(f"[{name}]:{port}" if ":" in name else f"{name}:{port}" for name, port in self.hosts)


def find_masters(masters: str | Sequence[str], allow_plaintext: bool) -> Masters:
    """What an author gave: a list of host:port, one text with commas between them, or `zk://host:port,…/path` alone."""
    given = [masters] if isinstance(masters, str) else list(masters)
    if not all(isinstance(text, str) for text in given):
        raise _wrong(f"{masters!r} are not addresses", _HINT)
    if not any(text.strip().startswith("zk://") for text in given):
        return Masters(parse_masters(masters, allow_plaintext))
    if len(given) > 1:
        raise _wrong("zk:// stands beside other masters", "give either zk://… alone or host:port of each master")
    url = parse_zookeeper(given[0])
    if not url.is_loopback() and not allow_plaintext:
        raise _wrong(f"{url} is not on this host, and connections are not encrypted", _PLAIN_HINT)
    # Only here: what it needs is not there unless it was asked for.
    from proffer.zookeeper import Standing

    return Standing(url, allow_plaintext)


def parse_masters(masters: str | Sequence[str], allow_plaintext: bool) -> list[str]:
    """Reads a list of host:port. Beyond this host the token would be readable on the way, so that must be spelled out."""
    given = masters.split(",") if isinstance(masters, str) else [part for text in masters for part in text.split(",")]
    parsed = dict.fromkeys(_parse_master(text, allow_plaintext) for text in given if text.strip())
    if not 0 < len(parsed) <= MASTERS_MAX:
        message = f"{len(parsed)} masters are given"
        raise _wrong(message, f"give 1 to {MASTERS_MAX}, such as 127.0.0.1:5050")
    return list(parsed)


def parse_zookeeper(text: str) -> ZooKeeperUrl:
    """Reads `zk://[user:password@]host[:port],…/path`."""
    rest = text.strip().removeprefix("zk://")
    # What is before the last @ must not be shown, whatever else is wrong.
    credentials, is_given, rest = rest.rpartition("@")
    if is_given:
        _check_credentials(credentials)
    hosts, has_path, path = rest.partition("/")
    if not has_path:
        raise _wrong_url("it has no path after the hosts")
    names = hosts.split(",")
    if len(names) > ZOOKEEPER_HOSTS_MAX:
        raise _wrong_url(f"it has more than {ZOOKEEPER_HOSTS_MAX} hosts")
    return ZooKeeperUrl([_parse_host(name) for name in names], _parse_path(path))


def _check_credentials(text: str) -> None:
    if re.search("%(?![0-9A-Fa-f]{2})", text):
        raise _wrong_url("% in the user's name or password is not followed by two hexadecimal digits")
    user, has_password, password = text.partition(":")
    if not has_password:
        raise _wrong_url("there is no password between the user's name and @")
    if not user or not password:
        raise _wrong_url("the user's name and the password must be given")


def _parse_host(text: str) -> tuple[str, int]:
    is_bracketed = re.fullmatch(r"\[([^]]*)\](?::(.*))?", text)
    name, port = is_bracketed.groups() if is_bracketed else (text.partition(":")[0], None)
    if not is_bracketed and ":" in text:
        port = text.partition(":")[2]
    if is_bracketed:
        is_name = _is_address(name, 6)
    else:
        is_name = len(name) <= 253 and re.fullmatch("[A-Za-z0-9._-]+", name) is not None
    if not is_name:
        raise _wrong_url(f"{text!r} is not a host")
    if port is not None and not (port.isascii() and port.isdecimal() and 0 < int(port) < 65536):
        raise _wrong_url(f"{text!r} does not end with a port")
    return name, int(port or _PORT_DEFAULT)


def _parse_path(text: str) -> str:
    text = text.removesuffix("/")
    if not text:
        raise _wrong_url("the path must not be / alone")
    for part in text.split("/"):
        if part in (".", "..") or not re.fullmatch(r"[!-~]+", part) or set(part) & set(",?#%"):
            raise _wrong_url(f"{part!r} cannot be a part of its path")
    if text.split("/")[0] == "zookeeper":
        raise _wrong_url("the path /zookeeper is ZooKeeper's own")
    if len(text) + 1 > ZOOKEEPER_PATH_LEN_MAX:
        raise _wrong_url("the path is too long")
    return "/" + text


def _parse_master(text: str, allow_plaintext: bool) -> str:
    address = text.strip().removeprefix("http://").rstrip("/")
    host, _, port = address.rpartition(":")
    is_port = port.isascii() and port.isdecimal() and 0 < int(port) < 65536
    # One of IPv6 without its brackets, or with half of them, would be tried for ever.
    is_host = bool(re.fullmatch(r"\[[^\[\]]+\]|[^:\[\]]+", host))
    if not is_host or not is_port or set(address) & set("/@?# "):
        raise _wrong(f"{text!r} is not host:port", _HINT)
    if not _is_loopback(host.strip("[]")) and not allow_plaintext:
        raise _wrong(f"{address} is not on this host, and the token would be readable", _PLAIN_HINT)
    return address


def _is_loopback(name: str) -> bool:
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(name).is_loopback
    return name.lower() == "localhost"


def _is_address(name: str, version: int) -> bool:
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(name).version == version
    return False


def _wrong(message: str, hint: str) -> ProfferError:
    return ProfferError("config.invalid", "masters", message, hint)


def _wrong_url(why: str) -> ProfferError:
    return _wrong(f"this is not the address of a ZooKeeper: {why}", _URL_HINT)
