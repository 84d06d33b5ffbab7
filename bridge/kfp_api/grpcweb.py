"""The framing of gRPC-web (binary, unary): what the reader sends and the local backend answers.

A body is a row of frames: one byte of flags, four bytes of length (big-endian), then so many bytes.
Flag ``0x80`` marks the trailers, written as an HTTP/1 header block; without it the frame is a
message. An error without a message may come in the HTTP headers alone ("trailers-only").
Source: the PROTOCOL-WEB document of the gRPC project.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import quote, unquote

CONTENT_TYPE = "application/grpc-web+proto"
CONTENT_TYPES = ("application/grpc-web+proto", "application/grpc-web")

OK = 0
CANCELLED = 1
UNKNOWN = 2
INVALID_ARGUMENT = 3
DEADLINE_EXCEEDED = 4
NOT_FOUND = 5
ALREADY_EXISTS = 6
PERMISSION_DENIED = 7
RESOURCE_EXHAUSTED = 8
FAILED_PRECONDITION = 9
ABORTED = 10
OUT_OF_RANGE = 11
UNIMPLEMENTED = 12
INTERNAL = 13
UNAVAILABLE = 14
DATA_LOSS = 15
UNAUTHENTICATED = 16

_HEADER = struct.Struct(">BI")
_COMPRESSED = 0x01
_TRAILERS = 0x80
_MAX_FRAMES = 16


class FrameError(ValueError):
    """The bytes are no complete gRPC-web body: cut, compressed, or something else altogether."""


class GrpcStatusError(Exception):
    """The server answered with a gRPC status other than OK."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"gRPC status {code}: {message}" if message else f"gRPC status {code}")
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True)
class Frames:
    """A decoded body: its messages in order and, if they came, its trailers with lower-case names."""

    messages: tuple[bytes, ...] = ()
    trailers: Mapping[str, str] | None = field(default=None)


def encode_message(payload: bytes) -> bytes:
    """One message frame: the whole body of a unary request."""
    return _HEADER.pack(0, len(payload)) + payload


def encode_trailers(code: int = OK, message: str = "") -> bytes:
    """The trailer frame; the message is percent-encoded as gRPC wants it."""
    lines = f"grpc-status:{code}\r\n"
    if message:
        lines += f"grpc-message:{quote(message, safe='!#$&()*+,/:;=?@[]')}\r\n"
    block = lines.encode("ascii")
    return _HEADER.pack(_TRAILERS, len(block)) + block


def encode_response(payload: bytes) -> bytes:
    """The body of a successful unary response."""
    return encode_message(payload) + encode_trailers()


def encode_error(code: int, message: str) -> bytes:
    """The body of a failed response: trailers and no message."""
    if code == OK:
        raise ValueError("an error has a status other than OK")
    return encode_trailers(code, message)


def decode_frames(body: bytes) -> Frames:
    """Takes a body apart. Raises ``FrameError`` if it is cut anywhere or no gRPC-web at all."""
    messages: list[bytes] = []
    trailers: dict[str, str] | None = None
    view = memoryview(body)
    while view:
        if trailers is not None:
            raise FrameError("bytes follow the trailers")
        if len(messages) >= _MAX_FRAMES:
            raise FrameError(f"more than {_MAX_FRAMES} messages")
        flags, payload, view = _next_frame(view)
        if flags == _TRAILERS:
            trailers = _parse_trailers(payload)
        else:
            messages.append(payload)
    return Frames(tuple(messages), trailers)


def decode_request(body: bytes) -> bytes:
    """The message of a unary request. Raises ``FrameError`` unless it is exactly one."""
    frames = decode_frames(body)
    if len(frames.messages) != 1 or frames.trailers is not None:
        raise FrameError("a unary request is exactly one message frame")
    return frames.messages[0]


def decode_response(body: bytes, headers: Mapping[str, str] | None = None) -> bytes:
    """The message of a unary response.

    Raises ``GrpcStatusError`` for a status other than OK, in the trailers or in ``headers``, and
    ``FrameError`` for an answer that is not whole: trailers are the proof that nothing was cut.
    """
    if not body and headers is not None and "grpc-status" in headers:
        _check_status(headers)
    frames = decode_frames(body)
    if frames.trailers is None:
        raise FrameError("the answer ends without trailers: it was cut")
    _check_status(frames.trailers)
    if len(frames.messages) != 1:
        raise FrameError(f"{len(frames.messages)} messages where a unary response has one")
    return frames.messages[0]


def _next_frame(view: memoryview) -> tuple[int, bytes, memoryview]:
    if len(view) < _HEADER.size:
        raise FrameError("cut inside a frame header")
    flags, length = _HEADER.unpack_from(view)
    if flags & _COMPRESSED:
        raise FrameError("a compressed frame, which was not asked for")
    if flags not in (0, _TRAILERS):
        raise FrameError(f"unknown frame flags 0x{flags:02x}: this is no gRPC-web")
    end = _HEADER.size + length
    if len(view) < end:
        raise FrameError(f"cut inside a frame: {len(view) - _HEADER.size} of {length} bytes")
    return flags, bytes(view[_HEADER.size : end]), view[end:]


def _parse_trailers(block: bytes) -> dict[str, str]:
    trailers: dict[str, str] = {}
    for line in block.decode("latin-1").splitlines():
        name, colon, value = line.partition(":")
        if line.strip() and not colon:
            raise FrameError("a trailer line without a colon")
        if colon:
            trailers[name.strip().lower()] = value.strip()
    return trailers


def _check_status(trailers: Mapping[str, str]) -> None:
    text = trailers.get("grpc-status", "")
    if not text.isdecimal():
        raise FrameError("trailers without a grpc-status")
    if int(text) != OK:
        raise GrpcStatusError(int(text), unquote(trailers.get("grpc-message", "")))
