"""Errors in the shape KFP gives them: google.rpc.Status as grpc-gateway writes it."""

from __future__ import annotations

from enum import IntEnum
from pathlib import Path
from typing import Any


class Code(IntEnum):
    """The gRPC status codes that this server uses."""

    INVALID_ARGUMENT = 3
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAUTHENTICATED = 16


# google.golang.org/grpc-gateway runtime.HTTPStatusFromCode
_HTTP_STATUS = {
    Code.INVALID_ARGUMENT: 400,
    Code.NOT_FOUND: 404,
    Code.ALREADY_EXISTS: 409,
    Code.PERMISSION_DENIED: 403,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.FAILED_PRECONDITION: 400,
    Code.UNIMPLEMENTED: 501,
    Code.INTERNAL: 500,
    Code.UNAUTHENTICATED: 401,
}


class StatusError(Exception):
    """A request that is refused, with the gRPC code and the sentence the caller gets.

    ``http_status`` is only given where KFP's answer differs from the gateway's table.
    """

    def __init__(self, code: Code, message: str, *, http_status: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.http_status = http_status or _HTTP_STATUS[code]


class DiskFull(StatusError):
    """There is no room for what was to be written; nothing was. The same may succeed later."""

    def __init__(self, folder: Path) -> None:
        super().__init__(
            Code.RESOURCE_EXHAUSTED,
            f"the disk of the local backend's folder {folder} is full: make room there",
        )


# What KFP puts before the sentence, which alone stands in the details.
_PREFIXES = {
    Code.INVALID_ARGUMENT: "Invalid input error: ",
    Code.NOT_FOUND: "ResourceNotFoundError: ",
    Code.ALREADY_EXISTS: "Already exist error: ",
}


def status_json(code: int, message: str) -> dict[str, Any]:
    """The body of an error as the gateway writes it, with the sentence as it is."""
    detail = {"@type": "type.googleapis.com/google.rpc.Status", "code": code, "message": message}
    return {"error": message, "code": code, "message": message, "details": [detail]}


def refusal_json(error: StatusError) -> dict[str, Any]:
    """The body of a refusal: KFP names the kind of the error in ``error`` and ``message``."""
    message = f"{_PREFIXES.get(error.code, '')}{error.message}"
    return {**status_json(error.code, error.message), "error": message, "message": message}


def invalid(message: str) -> StatusError:
    """What the caller sent is wrong: 400."""
    return StatusError(Code.INVALID_ARGUMENT, message)


def not_found(kind: str, name: str) -> StatusError:
    """What the caller names does not exist: 404."""
    return StatusError(Code.NOT_FOUND, f"{kind} {name} not found")


def conflict(message: str) -> StatusError:
    """What the caller wants to make exists already: 409."""
    return StatusError(Code.ALREADY_EXISTS, message)
