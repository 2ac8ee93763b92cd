"""Waiting with a limit of time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

T = TypeVar("T")


async def within(seconds: float, work: Awaitable[T]) -> T:
    """Waits so long, then raises `asyncio.TimeoutError` and cancels the work. Unlike `asyncio.wait_for` before Python 3.12, it
    loses no cancellation that comes together with the result."""
    task = asyncio.ensure_future(work)
    task.add_done_callback(_look)
    try:
        await asyncio.wait({task}, timeout=seconds)
        if not task.done():
            raise asyncio.TimeoutError
        return task.result()
    finally:
        task.cancel()


def _look(task: asyncio.Future[Any]) -> None:
    # Whoever waited may have gone; a failure then is nobody's.
    if not task.cancelled():
        task.exception()
