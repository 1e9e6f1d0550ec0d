"""Reflection and health through the public packages for them."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
from engram.v1 import model_pb2, model_pb2_grpc
from engram_server import EngramServer
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

SERVICES = {
    "engram.v1.Admin",
    "engram.v1.Checkpoints",
    "engram.v1.Evaluation",
    "engram.v1.Learning",
    "engram.v1.Models",
    "engram.v1.Prediction",
    "grpc.health.v1.Health",
    "grpc.reflection.v1alpha.ServerReflection",
    "inference.GRPCInferenceService",
}
# Debian's gRPC registers it without a descriptor.
UNDESCRIBED = "grpc.health.v1.Health"


@pytest.fixture(scope="module")
def channel(shared_server: EngramServer) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(shared_server.grpc_address) as opened:
        spec = model_pb2.ModelSpec(feature_count=2)
        model_pb2_grpc.ModelsStub(opened).CreateModel(
            model_pb2.CreateModelRequest(name="toy", spec=spec), timeout=30
        )
        yield opened


def test_reflection_lists_every_service_with_its_methods(channel: grpc.Channel) -> None:
    database = ProtoReflectionDescriptorDatabase(channel)
    assert set(database.get_services()) == SERVICES
    pool = DescriptorPool(database)
    for name in SERVICES - {UNDESCRIBED}:
        service = pool.FindServiceByName(name)
        assert service.methods, name
        for method in service.methods:
            assert method.input_type.full_name and method.output_type.full_name
    inference = pool.FindServiceByName("inference.GRPCInferenceService")
    assert {method.name for method in inference.methods} == {
        "ServerLive",
        "ServerReady",
        "ModelReady",
        "ServerMetadata",
        "ModelMetadata",
        "ModelInfer",
        "ModelConfig",
        "ModelStatistics",
        "RepositoryIndex",
    }


def test_reflection_is_enough_to_call(channel: grpc.Channel) -> None:
    from google.protobuf.message_factory import GetMessageClass

    pool = DescriptorPool(ProtoReflectionDescriptorDatabase(channel))
    method = pool.FindServiceByName("engram.v1.Models").FindMethodByName("GetModel")
    request = GetMessageClass(method.input_type)(name="toy")
    call = channel.unary_unary(
        "/engram.v1.Models/GetModel",
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=GetMessageClass(method.output_type).FromString,
    )
    assert call(request, timeout=10).spec.feature_count == 2


def test_reflection_answers_for_what_is_not_there(channel: grpc.Channel) -> None:
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    asked = reflection_pb2.ServerReflectionRequest(file_containing_symbol="no.Such")
    (reply,) = stub.ServerReflectionInfo(iter([asked]), timeout=10)
    assert reply.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]


@pytest.mark.parametrize("service", ["", "toy", "engram.v1.Learning", "engram.v1.Prediction"])
def test_health_check(channel: grpc.Channel, service: str) -> None:
    reply = health_pb2_grpc.HealthStub(channel).Check(
        health_pb2.HealthCheckRequest(service=service), timeout=10
    )
    assert reply.status == health_pb2.HealthCheckResponse.SERVING


def test_health_of_what_is_not_there(channel: grpc.Channel) -> None:
    stub = health_pb2_grpc.HealthStub(channel)
    request = health_pb2.HealthCheckRequest(service="no-such-model")
    with pytest.raises(grpc.RpcError) as caught:
        stub.Check(request, timeout=10)
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND
    watch = stub.Watch(request, timeout=10)
    assert next(watch).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
    watch.cancel()


def test_health_watch_follows_a_drain(start_server: Callable[..., EngramServer]) -> None:
    server = start_server()
    with grpc.insecure_channel(server.grpc_address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        seen: queue.Queue[Any] = queue.Queue()

        def follow() -> None:
            try:
                for reply in stub.Watch(health_pb2.HealthCheckRequest(service=""), timeout=60):
                    seen.put(reply.status)
            except grpc.RpcError as error:  # the end of the server ends the stream
                seen.put(error.code())

        watcher = threading.Thread(target=follow)
        watcher.start()
        assert seen.get(timeout=20) == health_pb2.HealthCheckResponse.SERVING
        assert server.stop() == 0
        assert seen.get(timeout=20) == health_pb2.HealthCheckResponse.NOT_SERVING
        watcher.join(timeout=20)
        assert not watcher.is_alive()
