"""The protocol without a socket: numbers, the window, repeats, rejections, the end record."""

from __future__ import annotations

import zlib

import grpc
import pytest
from engram import EngramError, InternalError, RetryOptions, UnavailableError
from engram._window import StreamOptions, Window
from engram.errors import error_of
from engram.v1 import learning_pb2
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2

UNAVAILABLE = error_of(grpc.StatusCode.UNAVAILABLE, "gone")


def welcomed(last: int = 0, **options: object) -> Window:
    window = Window(StreamOptions("m", "p", **options))  # type: ignore[arg-type]
    window.on_welcome(learning_pb2.LearnWelcome(epoch=1, last_producer_sequence=last))
    return window


def aborted(reason: str) -> EngramError:
    return error_of(grpc.StatusCode.ABORTED, "no", [error_details_pb2.ErrorInfo(reason=reason)])


def test_numbers_go_on_after_the_servers_last() -> None:
    window = welcomed(last=41)
    assert window.push(b"a", 1) == 42
    assert window.push(b"b", 1) == 43


def test_the_window_bounds_messages_and_bytes_but_passes_a_large_one_alone() -> None:
    window = welcomed(window_messages=2, window_bytes=10)
    assert window.has_room_for(11)
    window.push(b"12345678901", 1)
    assert not window.has_room_for(1)
    window.on_ack(learning_pb2.LearnAck(producer_sequence=1))
    window.push(b"1", 1)
    assert window.has_room_for(9) and not window.has_room_for(10)
    window.push(b"1", 1)
    assert not window.has_room_for(1)


def test_after_a_break_everything_without_an_ack_goes_again_under_its_number() -> None:
    window = welcomed()
    for payload in (b"one", b"two", b"three"):
        window.push(payload, 10)
    window.on_ack(learning_pb2.LearnAck(producer_sequence=1))
    # The server holds all three; its answer to the repeats says which were rejected.
    outgoing = window.on_welcome(learning_pb2.LearnWelcome(epoch=2, last_producer_sequence=3))
    hello = learning_pb2.LearnRequest.FromString(window.hello()).hello
    assert hello.last_acked_sequence == 1
    sent = []
    while (pending := window.find(outgoing.next_sequence)) is not None:
        sent.append((pending.sequence, outgoing.count(pending)))
    assert sent == [(2, b"two"), (3, b"three")]
    end = learning_pb2.LearnRequest.FromString(outgoing.end_record()).end
    assert (end.message_count, end.crc32) == (2, zlib.crc32(b"twothree"))


def test_a_rejection_is_counted_with_its_examples_and_details() -> None:
    window = welcomed()
    window.push(b"one", 10)
    window.push(b"two", 7)
    packed = any_pb2.Any()
    packed.Pack(
        error_details_pb2.BadRequest(
            field_violations=[{"field": "examples[3].label", "description": "is missing"}]
        )
    )
    ack = window.on_ack(
        learning_pb2.LearnAck(
            producer_sequence=2,
            rejections=[
                {"producer_sequence": 2, "status": status_pb2.Status(code=3, details=[packed])}
            ],
        )
    )
    assert ack.examples == 17
    assert ack.rejections[0].error.code is grpc.StatusCode.INVALID_ARGUMENT
    assert ack.rejections[0].error.field_violations == {"examples[3].label": "is missing"}
    assert (window.summary.accepted_examples, window.summary.rejected_examples) == (10, 7)


def test_a_program_that_runs_again_skips_what_the_server_has() -> None:
    window = welcomed(last=2, first_sequence=1)
    assert window.skip_stored() and window.skip_stored()
    assert not window.skip_stored()
    assert window.push(b"three", 1) == 3
    assert window.summary.skipped_messages == 2


def test_a_break_while_stored_messages_are_skipped_is_mended() -> None:
    window = welcomed(last=5, first_sequence=1)
    assert window.skip_stored()
    outgoing = window.on_welcome(learning_pb2.LearnWelcome(epoch=2, last_producer_sequence=5))
    assert outgoing.next_sequence == 6
    assert [window.skip_stored() for _ in range(5)] == [True, True, True, True, False]


def test_a_first_sequence_that_would_leave_a_gap_is_refused() -> None:
    with pytest.raises(EngramError, match="first_sequence.*at most 3, got 5"):
        welcomed(last=2, first_sequence=5)


def test_acks_and_welcomes_that_cannot_be_ours_are_errors() -> None:
    window = welcomed(last=5)
    with pytest.raises(InternalError, match="acked 6"):
        window.on_ack(learning_pb2.LearnAck(producer_sequence=6))
    with pytest.raises(EngramError, match="DATA_LOSS.*holds ack 5, the server has 4"):
        window.on_welcome(learning_pb2.LearnWelcome(last_producer_sequence=4))
    with pytest.raises(EngramError, match="another client uses this name"):
        window.on_welcome(learning_pb2.LearnWelcome(last_producer_sequence=9))


def test_what_mends_a_stream_and_what_does_not() -> None:
    window = welcomed()
    assert window.reconnect_delay(UNAVAILABLE, now=0) > 0
    assert window.reconnect_delay(aborted("NO_END"), now=0) > 0
    for final in (
        aborted("STALE_EPOCH"),
        aborted("SEQUENCE_GAP"),
        error_of(grpc.StatusCode.PERMISSION_DENIED, "no"),
        error_of(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many producers"),
    ):
        with pytest.raises(type(final)):
            window.reconnect_delay(final, now=0)


def test_the_servers_delay_is_the_least() -> None:
    retry = error_details_pb2.RetryInfo()
    retry.retry_delay.FromMilliseconds(7500)
    busy = error_of(grpc.StatusCode.RESOURCE_EXHAUSTED, "busy", [retry])
    assert welcomed().reconnect_delay(busy, now=0) == 7.5


def test_patience_counts_from_the_last_progress() -> None:
    window = welcomed(give_up_after_seconds=10.0)
    window.push(b"one", 1)
    window.push(b"two", 1)
    window.reconnect_delay(UNAVAILABLE, now=100)
    window.reconnect_delay(UNAVAILABLE, now=109)
    window.on_ack(learning_pb2.LearnAck(producer_sequence=1))
    window.reconnect_delay(UNAVAILABLE, now=118)
    with pytest.raises(UnavailableError):
        window.reconnect_delay(UNAVAILABLE, now=129)


def test_the_tries_for_the_first_welcome_are_bounded() -> None:
    window = Window(StreamOptions("m", "p", retry=RetryOptions(attempts=2)))
    window.reconnect_delay(UNAVAILABLE, now=0)
    with pytest.raises(UnavailableError):
        window.reconnect_delay(UNAVAILABLE, now=0)


def test_an_end_before_ours_is_an_error() -> None:
    window = welcomed()
    outgoing = window.on_welcome(learning_pb2.LearnWelcome())
    assert "before its end record" in str(window.outcome_of_end(outgoing))
    window.push(b"one", 1)
    outgoing.end_record()
    assert "finished the stream at 0, sent were 1" in str(window.outcome_of_end(outgoing))
    window.on_ack(learning_pb2.LearnAck(producer_sequence=1))
    assert window.outcome_of_end(outgoing) is None
