"""What went wrong, for someone: a code to branch on, a field to look at, a sentence, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import grpc
from google.protobuf import any_pb2, empty_pb2, unknown_fields

from proffer import v1

_CODES = {
    grpc.StatusCode.UNAUTHENTICATED: ("auth.missing", v1.PROBLEM_KIND_UNAUTHENTICATED),
    grpc.StatusCode.PERMISSION_DENIED: ("auth.denied", v1.PROBLEM_KIND_FORBIDDEN),
    grpc.StatusCode.RESOURCE_EXHAUSTED: ("server.overloaded", v1.PROBLEM_KIND_EXHAUSTED),
    grpc.StatusCode.UNIMPLEMENTED: ("route.unknown", v1.PROBLEM_KIND_NOT_FOUND),
    grpc.StatusCode.INVALID_ARGUMENT: ("field.invalid", v1.PROBLEM_KIND_INVALID),
    grpc.StatusCode.OUT_OF_RANGE: ("field.too_long", v1.PROBLEM_KIND_INVALID),
}


class ProfferError(Exception):
    """A refusal. `docs/errors.md` lists the codes; they do not change."""

    def __init__(
        self,
        code: str,
        field: str,
        message: str,
        hint: str = "",
        kind: int = v1.PROBLEM_KIND_INVALID,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(code, field, message, hint)
        self.code = code
        self.field = field
        self.message = message
        self.hint = hint
        self.kind = kind
        # In how many seconds to try again, at the earliest; None: it is not a matter of time.
        self.retry_after = retry_after
        # Where the leading master is, if the one that refused said so.
        self.leader = ""

    def __str__(self) -> str:
        where = f" ({self.field})" if self.field else ""
        return f"{self.code}{where}: {self.message}" + (f"; {self.hint}" if self.hint else "")


class Unreachable(ProfferError):
    """No answer came: whether the call was carried out is not known."""

    def __init__(self, message: str, hint: str = "see that the master runs and can be reached") -> None:
        super().__init__("peer.unreachable", "", message, hint, v1.PROBLEM_KIND_UNAVAILABLE)


class Unheard(Unreachable):
    """The master has ended a call, and gRPC has lost what it said: it was still sending. Asked again, it may be heard."""


def decode_problem(problem: v1.Problem) -> ProfferError:
    """A refusal as the master wrote it."""
    retry_after = problem.retry_after_ms / 1000 if problem.HasField("retry_after_ms") else None
    return ProfferError(problem.code, problem.field, problem.message, problem.hint, problem.kind, retry_after)


def problem_of(error: grpc.aio.AioRpcError) -> ProfferError:
    """The problem that a gRPC status carries, or for a status of another program the one that comes nearest."""
    metadata = {key: value for part in (error.initial_metadata(), error.trailing_metadata()) for key, value in part or ()}
    details = metadata.get("grpc-status-details-bin", b"")
    problem = _carried(details) if isinstance(details, bytes) else None
    if problem is None:
        text = error.details() or error.code().name
        code, kind = _CODES.get(error.code(), ("", 0))
        problem = ProfferError(code, "", text, kind=kind) if code else Unheard(text) if _is_lost(error) else Unreachable(text)
    problem.leader = str(metadata.get("proffer-leader", ""))
    return problem


def _is_lost(error: grpc.aio.AioRpcError) -> bool:
    """Whether a write failed, and took the place of why the call had ended."""
    return error.code() is grpc.StatusCode.INTERNAL and error.details() == "Internal error from Core"


def _carried(details: bytes) -> ProfferError | None:
    # A google.rpc.Status; its third field lists what it carries. Not worth a dependency.
    fields: Iterable[Any] = unknown_fields.UnknownFieldSet(empty_pb2.Empty.FromString(details))  # type: ignore[assignment]
    for field in fields:
        carried = any_pb2.Any.FromString(field.data) if field.field_number == 3 else any_pb2.Any()
        problem = v1.Problem()
        if carried.Unpack(problem):
            return decode_problem(problem)
    return None
