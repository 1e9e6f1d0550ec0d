"""The client for asyncio: as client.Client, each call a coroutine."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Mapping
from types import TracebackType
from typing import Any

import grpc
import numpy.typing as npt

from engram import _calls, _requests
from engram._calls import Reply, UnaryCall
from engram._connection import (
    ConnectionOptions,
    Pem,
    channel_arguments,
    default_producer,
    pause_async,
)
from engram._retry import Repeats, RetryOptions
from engram._window import StreamOptions
from engram.aio_learn import AsyncLearnStream
from engram.errors import from_rpc_error
from engram.examples import AnyExample, Examples, LearnDefaults
from engram.results import (
    Ack,
    ExportedModel,
    ExportedParts,
    LearnSummary,
    Prediction,
    RejectedError,
    check_rows,
    to_prediction,
)
from engram.v1 import (
    admin_pb2,
    checkpoints_pb2,
    evaluation_pb2,
    learning_pb2,
    model_pb2,
)

# Of learn_acks, beyond which the stream waits for whoever takes them.
_ACKS_WAITING = 64


class AsyncClient:
    """A connection to one engramd, of the event loop that is running when it is made; close it, or
    use it in an async with block.

    address: "HOST:PORT". token: of a role, sent with every call; it leaves this machine over TLS
    only. ca: the authority of the server's certificate (a file, or PEM bytes); without it nothing
    is encrypted. certificate, key: who we are, for a server that asks for it. producer: the name
    under which learn and boundary number their messages; one live stream a name and model, so
    clients that learn at the same time need names of their own. retry: of calls that fail on the
    way. Failures raise EngramError and its subclasses.
    """

    def __init__(
        self,
        address: str = "127.0.0.1:7401",
        *,
        token: str | None = None,
        ca: Pem | None = None,
        certificate: Pem | None = None,
        key: Pem | None = None,
        producer: str | None = None,
        retry: RetryOptions | None = None,
    ) -> None:
        self._options = ConnectionOptions(address, token, ca, certificate, key)
        self._retry = retry or RetryOptions()
        self._streams: weakref.WeakSet[AsyncLearnStream] = weakref.WeakSet()
        self.producer = producer or default_producer("python")
        credentials = self._options.credentials()
        arguments = channel_arguments(self._options)
        if credentials is None:
            self._channel = grpc.aio.insecure_channel(address, arguments)
        else:
            self._channel = grpc.aio.secure_channel(address, credentials, arguments)

    async def close(self) -> None:
        """Ends the connection and every call on it."""
        for stream in list(self._streams):  # gRPC's close finds only some of its calls
            await stream._abandon()
        await self._channel.close()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    # Models.

    async def create_model(
        self,
        name: str,
        spec: model_pb2.ModelSpec | Mapping[str, Any] | None = None,
        **fields: Any,
    ) -> model_pb2.Model:
        """`spec`, or what model_spec() takes, as keywords: feature_count=784, hidden=[256] ..."""
        return await self._call(_calls.create_model(name, _requests.to_spec(spec, fields)))

    async def get_model(self, name: str) -> model_pb2.Model:
        """Its spec with every default, version, classes, tasks and state."""
        return await self._call(_calls.get_model(name))

    async def list_models(self) -> list[model_pb2.Model]:
        """All of the server's."""
        return list((await self._call(_calls.list_models())).models)

    async def update_model(
        self, name: str, spec: model_pb2.ModelSpec | None = None, *, promote: bool = False
    ) -> model_pb2.UpdateModelResponse:
        """Settings that may change live: change get_model(name).spec and pass it. promote: in its
        place, the candidate that a tune proposes becomes the model."""
        return await self._call(_calls.update_model(name, spec, promote))

    async def delete_model(self, name: str) -> None:
        """With its log, checkpoints and memory."""
        await self._call(_calls.delete_model(name))

    async def pause(self, name: str) -> model_pb2.Model:
        """It accepts, acks and predicts, but does not train."""
        return await self._call(_calls.pause(name))

    async def resume(self, name: str) -> model_pb2.Model:
        """It trains again."""
        return await self._call(_calls.resume(name))

    # Learning.

    async def learn(
        self,
        model: str,
        examples: Examples | AsyncIterable[AnyExample],
        labels: npt.ArrayLike | None = None,
        *,
        raise_on_rejection: bool = True,
        **options: Any,
    ) -> LearnSummary:
        """Streams examples and returns when all are durable (not yet learned: wait_applied).

        Rows of an array with their labels, or an iterable, async or not, of Example, (features,
        label) or protobuf Example. Raises RejectedError at the end when the server refused some.
        options: those of learn_stream.
        """
        stream = await self.learn_stream(model, **options).open()
        try:
            await stream.send(examples, labels)
            summary = await stream.finish()
        except BaseException:
            await stream.cancel()
            raise
        if summary.rejected_messages and raise_on_rejection:
            raise RejectedError(summary)
        return summary

    async def learn_acks(
        self,
        model: str,
        examples: Examples | AsyncIterable[AnyExample],
        labels: npt.ArrayLike | None = None,
        **options: Any,
    ) -> AsyncIterator[Ack]:
        """As learn, but yields the acks as they come, rejections in them. Whoever takes them slowly
        slows the stream."""
        acks: asyncio.Queue[Ack | None] = asyncio.Queue()
        room = asyncio.Semaphore(_ACKS_WAITING)

        async def keep(ack: Ack) -> None:
            await room.acquire()
            acks.put_nowait(ack)

        stream = await self.learn_stream(model, on_ack=keep, **options).open()
        sender = asyncio.create_task(_send_and_finish(stream, examples, labels, acks))
        try:
            while (ack := await acks.get()) is not None:
                room.release()
                yield ack
            await sender
        finally:
            sender.cancel()
            await asyncio.gather(sender, return_exceptions=True)
            await stream.cancel()

    def learn_stream(
        self,
        model: str,
        *,
        producer: str | None = None,
        batch: int = 256,
        task: str = "",
        held_out: bool = False,
        uint8_scale: float | None = None,
        on_ack: Callable[[Ack], Awaitable[None] | None] | None = None,
        **window: Any,
    ) -> AsyncLearnStream:
        """A stream to send to: async with client.learn_stream("digits") as stream:
        await stream.send(x, y).

        batch: examples a message. task, held_out, uint8_scale: of examples that do not say. on_ack:
        called with each ack; one that is a coroutine is waited for, which slows the stream to its
        speed. window: the further fields of StreamOptions: first_sequence,
        window_messages, window_bytes, handshake_seconds, give_up_after_seconds, retry.
        """
        window.setdefault("retry", self._retry)
        options = StreamOptions(model, producer or self.producer, **window)
        defaults = LearnDefaults(task, held_out, uint8_scale, batch)
        metadata = self._options.metadata()
        stream = AsyncLearnStream(self._channel, metadata, options, defaults, on_ack)
        self._streams.add(stream)
        return stream

    async def boundary(
        self, model: str, next_task: str = "", *, producer: str | None = None
    ) -> learning_pb2.MarkBoundaryResponse:
        """Ends the current task and begins the next. While a learn_stream of the same producer is
        open, use its boundary(): this call would end it."""
        async with self.learn_stream(model, producer=producer) as stream:
            welcome = await stream.finish()
        request = _requests.boundary_request(model, welcome, next_task)
        return await self._call(_calls.mark_boundary(request))

    async def wait_applied(
        self, model: str, sequence: int = 0, *, evaluated: bool = False, timeout: float = 600.0
    ) -> learning_pb2.WaitAppliedResponse:
        """Returns when `sequence` (0: what is durable now) is learned and served; with evaluated,
        also every boundary's row of R measured."""
        return await self._call(_calls.wait_applied(model, sequence, evaluated, timeout))

    async def erase(
        self,
        model: str,
        *,
        example_id: str | None = None,
        subject_id: str | None = None,
        producer: str | None = None,
        timeout: float = 600.0,
    ) -> learning_pb2.EraseResponse:
        """Erases every example of an id, a subject or a producer; the receipt says what went."""
        request = _requests.erase_request(model, example_id, subject_id, producer)
        return await self._call(_calls.erase(request, timeout))

    # Prediction and evaluation.

    async def predict(
        self,
        model: str,
        rows: npt.ArrayLike,
        *,
        task: str = "",
        version: int = 0,
        min_applied_sequence: int = 0,
        top_k: int | None = None,
        scores: bool = True,
        uint8_scale: float | None = None,
        timeout: float = 30.0,
    ) -> Prediction:
        """One row or many. min_applied_sequence: wait until it is learned (read your own writes).
        version: 0 is the live model; else a kept checkpoint's."""
        requests = _requests.predict_requests(
            model,
            rows,
            task=task,
            version=version,
            min_applied_sequence=min_applied_sequence,
            top_k=top_k,
            scores=scores,
            uint8_scale=uint8_scale,
        )
        return to_prediction(
            [check_rows(each, await self._call(_calls.predict(each, timeout))) for each in requests]
        )

    async def evaluate(
        self, model: str, examples: Any, labels: npt.ArrayLike | None = None, *, version: int = 0
    ) -> evaluation_pb2.EvaluateResponse:
        """Accuracy on 1 to 1 024 examples of the caller's; nothing is kept."""
        request = _requests.evaluate_request(model, examples, labels, version)
        return await self._call(_calls.evaluate(request))

    async def report(self, model: str) -> evaluation_pb2.Report:
        """R, ACC, BWT, FWT, forgetting of each task, prequential accuracy, rollbacks."""
        return await self._call(_calls.report(model))

    async def watch(self, model: str) -> AsyncIterator[evaluation_pb2.ReportEvent]:
        """The report now and after each change; evaluations, checkpoints, rollbacks. Endless;
        leaving the loop ends the call."""
        request = evaluation_pb2.WatchReportRequest(model=model)
        method = self._channel.unary_stream(
            _calls.WATCH,
            request_serializer=evaluation_pb2.WatchReportRequest.SerializeToString,
            response_deserializer=evaluation_pb2.ReportEvent.FromString,
        )
        call = method(request, metadata=self._options.metadata())
        try:
            async for event in call:
                yield event
        except grpc.RpcError as error:
            raise from_rpc_error(error) from None
        finally:
            call.cancel()

    # Checkpoints.

    async def create_checkpoint(
        self, model: str, label: str = "", *, min_applied_sequence: int = 0
    ) -> checkpoints_pb2.Checkpoint:
        """At the trainer's next cut; min_applied_sequence: not before that is learned."""
        return await self._call(_calls.create_checkpoint(model, label, min_applied_sequence))

    async def list_checkpoints(self, model: str) -> list[checkpoints_pb2.Checkpoint]:
        """Newest first."""
        return list((await self._call(_calls.list_checkpoints(model))).checkpoints)

    async def get_checkpoint(self, model: str, checkpoint: str) -> checkpoints_pb2.Checkpoint:
        """By id or label."""
        return await self._call(_calls.get_checkpoint(model, checkpoint))

    async def delete_checkpoint(self, model: str, checkpoint: str) -> None:
        """By id or label."""
        await self._call(_calls.delete_checkpoint(model, checkpoint))

    async def rollback(
        self,
        model: str,
        checkpoint: str,
        *,
        dry_run: bool = False,
        expected_current_version: int = 0,
    ) -> checkpoints_pb2.RollbackResponse:
        """Brings back a checkpoint, its episodic memory included; dry_run only says what would
        happen. Returns once the restored model is served."""
        return await self._call(
            _calls.rollback(model, checkpoint, dry_run, expected_current_version)
        )

    async def export_checkpoint(
        self, model: str, checkpoint: str = "", *, torchscript: bool = False
    ) -> ExportedModel:
        """The network of a checkpoint ("": the newest) as safetensors, or as a TorchScript module
        whose forward(rows) gives logits. Checked against the server's SHA-256."""
        method = self._channel.unary_stream(
            _calls.EXPORT,
            request_serializer=checkpoints_pb2.ExportRequest.SerializeToString,
            response_deserializer=checkpoints_pb2.ExportResponse.FromString,
        )
        request = _requests.export_request(model, checkpoint, torchscript)
        parts = ExportedParts()
        try:
            async for part in method(
                request, timeout=_calls.FILE_SECONDS, metadata=self._options.metadata()
            ):
                parts.add(part)
        except grpc.RpcError as error:
            raise from_rpc_error(error) from None
        return parts.model()

    async def import_model(
        self, name: str, content: bytes, spec: model_pb2.ModelSpec | None = None
    ) -> model_pb2.Model:
        """A new model from an exported safetensors file; spec: in place of the file's own. Never
        repeated: it acts once or not at all."""
        method = self._channel.stream_unary(
            _calls.IMPORT,
            request_serializer=checkpoints_pb2.ImportRequest.SerializeToString,
            response_deserializer=model_pb2.Model.FromString,
        )
        try:
            made: model_pb2.Model = await method(
                _requests.import_requests(name, content, spec),
                timeout=_calls.FILE_SECONDS,
                metadata=self._options.metadata(),
            )
            return made
        except grpc.RpcError as error:
            raise from_rpc_error(error) from None

    # The server.

    async def server_info(self) -> admin_pb2.ServerInfo:
        """Version, BLAS, disk, warnings."""
        return await self._call(_calls.server_info())

    async def strategies(self) -> list[admin_pb2.StrategyDescription]:
        """What each strategy does and takes."""
        return list((await self._call(_calls.strategies())).strategies)

    async def limits(self) -> dict[str, str]:
        """Every limit and default by name."""
        return {each.name: each.value for each in (await self._call(_calls.limits())).limits}

    async def _call(self, call: UnaryCall[Reply]) -> Reply:
        method = self._channel.unary_unary(
            call.method,
            request_serializer=type(call.request).SerializeToString,
            response_deserializer=call.reply.FromString,
        )
        repeats = Repeats(self._retry, call.repeatable)
        while True:
            try:
                reply: Reply = await method(
                    call.request, timeout=call.seconds, metadata=self._options.metadata()
                )
                return reply
            except grpc.RpcError as failure:
                error = from_rpc_error(failure)
            delay = repeats.delay_after(error)
            await pause_async(self._channel, delay, error.retry_delay_seconds is not None)


async def _send_and_finish(
    stream: AsyncLearnStream,
    examples: Examples | AsyncIterable[AnyExample],
    labels: npt.ArrayLike | None,
    acks: asyncio.Queue[Ack | None],
) -> None:
    try:
        await stream.send(examples, labels)
        await stream.finish()
    finally:
        acks.put_nowait(None)
