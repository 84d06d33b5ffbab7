"""The frame codec: whole bodies survive, and nothing cut or foreign passes for whole."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.kfp_api import grpcweb

payloads = st.binary(max_size=300)
messages = st.text(st.characters(codec="utf-8"), max_size=80)


@given(payloads)
def test_a_response_survives(payload: bytes) -> None:
    assert grpcweb.decode_response(grpcweb.encode_response(payload)) == payload


@given(payloads)
def test_a_request_survives(payload: bytes) -> None:
    assert grpcweb.decode_request(grpcweb.encode_message(payload)) == payload


@given(payloads, st.data())
def test_a_response_cut_anywhere_is_refused(payload: bytes, data: st.DataObject) -> None:
    body = grpcweb.encode_response(payload)
    cut = body[: data.draw(st.integers(0, len(body) - 1))]
    with pytest.raises(grpcweb.FrameError):
        grpcweb.decode_response(cut)


@given(payloads, st.data())
def test_a_request_cut_anywhere_is_refused(payload: bytes, data: st.DataObject) -> None:
    body = grpcweb.encode_message(payload)
    cut = body[: data.draw(st.integers(0, len(body) - 1))]
    with pytest.raises(grpcweb.FrameError):
        grpcweb.decode_request(cut)


@given(st.binary(max_size=200))
def test_arbitrary_bytes_raise_nothing_but_our_errors(body: bytes) -> None:
    try:
        frames = grpcweb.decode_frames(body)
    except grpcweb.FrameError:
        return
    assert sum(len(message) for message in frames.messages) <= len(body)


@given(st.integers(1, 16), messages)
def test_an_error_carries_its_code_and_message(code: int, message: str) -> None:
    with pytest.raises(grpcweb.GrpcStatusError) as caught:
        grpcweb.decode_response(grpcweb.encode_error(code, message))
    assert caught.value.code == code
    assert caught.value.message == message


def test_an_error_that_is_ok_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="other than OK"):
        grpcweb.encode_error(grpcweb.OK, "")


def test_the_message_is_percent_encoded_ascii() -> None:
    body = grpcweb.encode_error(grpcweb.NOT_FOUND, "kein Kontext für „x“\r\n100 %")
    assert body.isascii() is False  # the flag byte
    assert b"grpc-status:5\r\n" in body
    assert b"f%C3%BCr" in body
    assert b"%0D%0A" in body


def test_trailers_in_the_headers_alone_are_an_error_too() -> None:
    with pytest.raises(grpcweb.GrpcStatusError, match="no such context") as caught:
        grpcweb.decode_response(b"", {"grpc-status": "5", "grpc-message": "no%20such%20context"})
    assert caught.value.code == grpcweb.NOT_FOUND


def test_trailer_names_are_read_in_any_case() -> None:
    block = b"Grpc-Status: 0\r\nX-Other: y\r\n"
    body = grpcweb.encode_message(b"m") + struct.pack(">BI", 0x80, len(block)) + block
    assert grpcweb.decode_response(body) == b"m"
    assert grpcweb.decode_frames(body).trailers == {"grpc-status": "0", "x-other": "y"}


def _frame(flags: int, payload: bytes) -> bytes:
    return struct.pack(">BI", flags, len(payload)) + payload


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (_frame(1, b"zip") + grpcweb.encode_trailers(), "compressed"),
        (_frame(0x81, b"zip"), "compressed"),
        (_frame(7, b"?"), "compressed"),
        (b"<html><body>Sign in</body></html>", "no gRPC-web"),
        (grpcweb.encode_message(b"a"), "without trailers"),
        (grpcweb.encode_trailers(), "0 messages"),
        (grpcweb.encode_message(b"a") * 2 + grpcweb.encode_trailers(), "2 messages"),
        (grpcweb.encode_message(b"a") * 17 + grpcweb.encode_trailers(), "more than 16"),
        (grpcweb.encode_response(b"a") + b"x", "follow the trailers"),
        (_frame(0x80, b"grpc-status 0\r\n"), "without a colon"),
        (_frame(0x80, b"x:y\r\n"), "without a grpc-status"),
        (_frame(0x80, b"grpc-status:-1\r\n"), "without a grpc-status"),
    ],
)
def test_what_is_no_whole_unary_response_is_refused(body: bytes, said: str) -> None:
    with pytest.raises(grpcweb.FrameError, match=said):
        grpcweb.decode_response(body)


@pytest.mark.parametrize("body", [b"", grpcweb.encode_response(b"a"), grpcweb.encode_message(b"a") * 2])
def test_a_request_is_exactly_one_message(body: bytes) -> None:
    with pytest.raises(grpcweb.FrameError, match="exactly one"):
        grpcweb.decode_request(body)
