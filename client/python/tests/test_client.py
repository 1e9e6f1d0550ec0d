"""Every call of the client against a real server."""

from __future__ import annotations

import copy
import time
from concurrent import futures
from typing import Any

import engram
import grpc
import numpy as np
import pytest
from engram.v1 import checkpoints_pb2, learning_pb2, model_pb2
from engram_server import EngramServer

from conftest import FEATURES, toy_spec
from tcp_proxy import TcpProxy


def test_a_models_life(client: engram.Client) -> None:
    made = client.create_model("life", toy_spec(), strategies="ewc", batch_size=7)
    assert made.spec.batch_size == 7 and made.spec.strategies[0].HasField("ewc")
    assert "life" in [each.name for each in client.list_models()]
    spec = client.get_model("life").spec
    spec.optimizer.learning_rate = 0.01
    assert client.update_model("life", spec).model.spec.optimizer.learning_rate == 0.01
    assert client.pause("life").paused
    assert not client.resume("life").paused
    client.delete_model("life")
    with pytest.raises(engram.NotFoundError):
        client.get_model("life")


def test_errors_carry_code_message_and_details(client: engram.Client, model: str) -> None:
    with pytest.raises(engram.AlreadyExistsError, match="already exists"):
        client.create_model(model, toy_spec())
    with pytest.raises(engram.InvalidArgumentError) as refused:
        client.predict(model, np.zeros((1, FEATURES + 1)))
    assert refused.value.code is grpc.StatusCode.INVALID_ARGUMENT
    assert "expected 4 values" in refused.value.message
    assert "expected 4 values" in refused.value.field_violations["features"]
    with pytest.raises(engram.NotFoundError) as missing:
        client.report("nowhere")
    assert missing.value.details[0].resource_name == "nowhere"  # type: ignore[attr-defined]


def test_learn_takes_arrays_tuples_examples_and_messages(
    client: engram.Client, model: str, toy_rows: Any
) -> None:
    rows, labels = toy_rows(600)
    assert client.learn(model, rows, labels).accepted_examples == 600
    assert client.learn(model, zip(rows, labels, strict=True)).accepted_examples == 600
    examples = [engram.Example(row, int(label), weight=2.0) for row, label in zip(rows, labels)]
    summary = client.learn(model, examples, batch=100)
    assert (summary.accepted_examples, summary.durable_sequence) == (600, 1800)
    client.wait_applied(model)
    assert client.report(model).train_examples == 1800


def test_acks_come_out_as_examples_go_in(client: engram.Client, model: str, toy_rows: Any) -> None:
    rows, labels = toy_rows(500)
    acks = list(client.learn_acks(model, rows, labels, batch=50, window_messages=2))
    assert sum(each.examples for each in acks) == 500
    sequences = [each.producer_sequence for each in acks]
    assert sequences == sorted(set(sequences)) and sequences[-1] == 10
    assert acks[-1].durable_sequence == 500


def test_tasks_their_matrix_and_predictions(
    client: engram.Client, model: str, toy_rows: Any
) -> None:
    rows, labels = toy_rows(400)
    client.learn(model, rows, labels)
    client.learn(model, rows[:50], labels[:50], held_out=True)
    marked = client.boundary(model, "evening")
    assert (marked.ended_task, marked.next_task) == ("task-1", "evening")
    applied = client.wait_applied(model, marked.sequence, evaluated=True)
    assert applied.applied_sequence >= marked.sequence
    report = client.report(model)
    assert report.rows[0].ended_task == "task-1"
    assert report.rows[0].cells[0].held_out_rows == 50
    assert report.summary.acc > 0.9

    prediction = client.predict(model, rows, top_k=2, min_applied_sequence=marked.sequence)
    assert np.mean(prediction.labels == labels) > 0.9
    assert prediction.scores.shape == (400, 2)
    np.testing.assert_allclose(prediction.scores.sum(axis=1), 1, atol=1e-5)
    assert prediction.top[0][0][0] == prediction.labels[0]
    assert prediction.model_version >= marked.sequence
    assert client.evaluate(model, rows[:100], labels[:100]).accuracy > 0.9


def test_many_rows_are_asked_in_pieces_and_one_row_needs_no_second_dimension(
    client: engram.Client, model: str, toy_rows: Any
) -> None:
    rows, labels = toy_rows(2500)
    client.learn(model, rows, labels)
    client.wait_applied(model)
    prediction = client.predict(model, rows, scores=False)
    assert prediction.labels.shape == (2500,) and prediction.scores.shape == (2500, 0)
    assert client.predict(model, rows[1234]).labels[0] == prediction.labels[1234]


def test_a_model_that_learned_nothing_says_so(client: engram.Client, model: str) -> None:
    with pytest.raises(engram.FailedPreconditionError, match="no class yet"):
        client.predict(model, np.zeros(FEATURES))


def test_bytes_train_the_same_model_as_the_floats_they_stand_for(client: engram.Client) -> None:
    pixels = np.random.default_rng(3).integers(0, 256, size=(300, FEATURES), dtype=np.uint8)
    labels = (pixels[:, 0] > 127).astype(int)
    scale = np.float32(1) / np.float32(255)
    floats = pixels.astype(np.float32) * scale
    for name, rows in (("bytes", pixels), ("floats", floats)):
        client.create_model(name, toy_spec(), max_batch_wait_ms=0)
        client.learn(name, rows, labels)
        client.wait_applied(name, 300)
    by_bytes, by_floats = client.predict("bytes", floats), client.predict("floats", floats)
    np.testing.assert_array_equal(by_bytes.scores, by_floats.scores)
    np.testing.assert_array_equal(client.predict("floats", pixels).scores, by_floats.scores)


def test_text_labels(client: engram.Client, model: str, toy_rows: Any) -> None:
    rows, labels = toy_rows(400)
    client.learn(model, rows, np.where(labels == 1, "up", "down"))
    client.wait_applied(model)
    assert set(client.predict(model, rows).labels) == {"up", "down"}


def test_rejections_do_not_end_a_stream(client: engram.Client, model: str, toy_rows: Any) -> None:
    rows, labels = toy_rows(30)
    rows[12, 2] = np.nan
    with pytest.raises(engram.RejectedError, match="10 examples in 1 messages.*20 are") as refused:
        client.learn(model, rows, labels, batch=10)
    assert refused.value.field_violations == {"examples[2].features[2]": "is NaN"}
    again = copy.copy(refused.value)  # as a pickle does it
    assert (str(again), again.summary.rejected_examples) == (str(refused.value), 10)
    summary = client.learn(model, rows, labels, batch=10, raise_on_rejection=False)
    (rejection,) = summary.rejections
    assert (rejection.producer_sequence, rejection.examples) == (5, 10)
    assert rejection.error.code is grpc.StatusCode.INVALID_ARGUMENT
    assert "examples[2].features[2]: is NaN" in rejection.error.message
    client.wait_applied(model)
    assert client.report(model).train_examples == 40


def test_a_stream_by_hand(client: engram.Client, model: str, toy_rows: Any) -> None:
    rows, labels = toy_rows(100)
    acked: list[engram.Ack] = []
    with client.learn_stream(model, on_ack=acked.append) as stream:
        assert stream.send(rows, labels) == 1
        assert stream.send((rows[0], 1)) == 2
        assert stream.send(engram.Example(rows[1], 0)) == 3
        assert stream.flush().accepted_examples == 102
        assert stream.boundary("next") == 4
    assert stream.summary.producer_sequence == 4
    assert sum(each.examples for each in acked) == 102
    assert client.get_model(model).current_task == "next"
    with pytest.raises(ValueError, match="finished"):
        stream.send(rows, labels)


def test_a_block_that_raises_cancels_its_stream(client: engram.Client, model: str) -> None:
    with pytest.raises(KeyError):
        with client.learn_stream(model) as stream:
            raise KeyError
    with pytest.raises(ValueError, match="cancelled"):
        stream.send((np.zeros(FEATURES), 1))


def test_a_stream_that_failed_unnoticed_fails_its_block(
    client: engram.Client, model: str
) -> None:
    with pytest.raises(engram.AbortedError) as fenced:
        with client.learn_stream(model) as first:
            client.learn(model, [(np.zeros(FEATURES), 1)])  # takes over the name
            first.send((np.ones(FEATURES), 0))
            with pytest.raises(engram.AbortedError):
                first.flush()
    assert fenced.value.reason == "STALE_EPOCH"


def test_a_client_closed_beneath_its_stream_ends_it(
    shared_server: EngramServer, model: str
) -> None:
    with engram.Client(shared_server.grpc_address) as other:
        stream = other.learn_stream(model)
    with pytest.raises(engram.CancelledError, match="losed"):
        stream.finish()


def test_a_finish_that_is_cancelled_does_not_look_finished(
    client: engram.Client, shared_server: EngramServer, model: str
) -> None:
    with TcpProxy(shared_server.grpc_address) as proxy:
        with engram.Client(proxy.address) as far:
            stream = far.learn_stream(model)
            proxy.swallow_answers()
            stream.send((np.ones(FEATURES), 0))
            with futures.ThreadPoolExecutor(1) as pool:
                finished = pool.submit(stream.finish)
                deadline = time.monotonic() + 30
                while client.get_model(model).durable_sequence == 0:
                    assert time.monotonic() < deadline, "the example did not get to the server"
                stream.cancel()
                with pytest.raises(ValueError, match="cancelled"):
                    finished.result(30)


def test_watch_tells_what_happens(client: engram.Client, model: str, toy_rows: Any) -> None:
    rows, labels = toy_rows(50)
    client.learn(model, rows, labels)
    client.wait_applied(model)
    events = client.watch(model)
    assert next(events).report.model == model
    made = client.create_checkpoint(model, "seen")
    for event in events:
        if event.checkpoint.id == made.id:
            break
    events.close()  # type: ignore[attr-defined]
    with pytest.raises(engram.NotFoundError):
        next(client.watch("nowhere"))


def test_rows_of_another_width_are_not_predicted(client: engram.Client, model: str) -> None:
    client.learn(model, [(np.zeros(FEATURES), 1)])
    client.wait_applied(model)
    for shape in ((8, FEATURES - 1), (2 * FEATURES,), (3, FEATURES - 1)):
        with pytest.raises((ValueError, engram.InvalidArgumentError), match="features"):
            client.predict(model, np.zeros(shape))


def test_checkpoints_and_rollback(client: engram.Client, model: str, toy_rows: Any) -> None:
    rows, labels = toy_rows(200)
    kept = client.learn(model, rows, labels).durable_sequence
    before = client.create_checkpoint(model, "good", min_applied_sequence=kept)
    assert before.applied_sequence == kept
    wrong = client.learn(model, rows, 1 - labels).durable_sequence
    client.wait_applied(model, wrong)
    assert before in client.list_checkpoints(model)
    assert client.get_checkpoint(model, "good") == before

    planned = client.rollback(model, "good", dry_run=True)
    assert (planned.dropped_examples, planned.rollback_sequence) == (200, 0)
    with pytest.raises(engram.AbortedError) as changed:
        client.rollback(model, "good", expected_current_version=1)
    assert changed.value.reason == "VERSION_CHANGED"
    done = client.rollback(model, "good")
    assert isinstance(done, checkpoints_pb2.RollbackResponse)
    assert (done.restored_sequence, done.dropped_examples) == (kept, 200)
    assert np.mean(client.predict(model, rows).labels == labels) > 0.9
    assert client.report(model).dropped_examples == 200
    client.create_checkpoint(model, "spare")
    client.delete_checkpoint(model, "spare")
    assert "spare" not in [each.label for each in client.list_checkpoints(model)]


def test_a_model_goes_out_and_comes_in(client: engram.Client, model: str, toy_rows: Any) -> None:
    rows, labels = toy_rows(300)
    client.learn(model, rows, labels)
    client.wait_applied(model)
    kept = client.create_checkpoint(model, "out")
    exported = client.export_checkpoint(model, "out")
    assert (exported.checkpoint, exported.model_version) == (kept.id, kept.applied_sequence)
    assert set(exported.labels) == {0, 1}
    client.import_model(model + "-again", exported.content)
    here, there = client.predict(model, rows), client.predict(model + "-again", rows)
    np.testing.assert_array_equal(here.scores, there.scores)
    assert client.export_checkpoint(model, torchscript=True).content[:2] == b"PK"
    with pytest.raises(engram.NotFoundError):
        client.export_checkpoint(model, "nowhere")
    with pytest.raises(engram.AlreadyExistsError):
        client.import_model(model, exported.content)


def test_erased_is_gone(client: engram.Client, model: str, toy_rows: Any) -> None:
    rows, labels = toy_rows(40)
    client.learn(
        model,
        [
            engram.Example(row, int(label), id=f"e{i}", subject_id=f"s{i % 4}")
            for i, (row, label) in enumerate(zip(rows, labels, strict=True))
        ],
    )
    receipt = client.erase(model, subject_id="s1")
    assert receipt.data == learning_pb2.EraseResponse.DATA_REMOVED
    assert receipt.erased_examples == 10
    assert client.erase(model, example_id="e0").erased_examples == 1
    assert client.erase(model, producer=client.producer).erased_examples == 29


def test_what_the_server_is(client: engram.Client) -> None:
    assert client.server_info().version
    assert "ewc" in [each.name for each in client.strategies()]
    assert client.limits()["examples_per_message"] == "1024"


def test_a_spec_message_is_taken_as_it_is(client: engram.Client) -> None:
    spec = engram.model_spec(**toy_spec())
    assert isinstance(client.create_model("by-message", spec), model_pb2.Model)
    with pytest.raises(TypeError, match="put batch_size into it"):
        client.create_model("by-both", spec, batch_size=3)
