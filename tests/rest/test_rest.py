"""REST as a shell or a browser uses it, against a real server: what /v1 promises (proto/API.md)."""

from __future__ import annotations

import hashlib
import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from engram_server import EngramServer

CONFIG = 'models { name: "toy" spec { feature_count: 2 held_out_fraction: 0 } }'
JSON = "application/json"
NDJSON = "application/x-ndjson"
STATUS_FIELDS = {"code", "message", "details"}


class Rest:
    """Calls of /v1: a verb, a path, a body; the code and the JSON that came back."""

    def __init__(self, server: EngramServer, token: str = "") -> None:
        self._server = server
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    def __call__(
        self, verb: str, path: str, body: Any = None, content_type: str = JSON, **headers: str
    ) -> tuple[int, Any]:
        kind = {} if body is None else {"Content-Type": content_type}
        text = body if isinstance(body, str) else json.dumps(body)
        request = urllib.request.Request(
            self._server.http_url + path,
            method=verb,
            data=None if body is None else text.encode(),
            headers=self._headers | headers | kind,
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as reply:
                return reply.status, json.load(reply)
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())

    def learn(self, body: str, query: str = "", model: str = "toy") -> tuple[int, Any]:
        return self("POST", f"/v1/models/{model}/learn?{query}", body, NDJSON)


@pytest.fixture(scope="module")
def toy(shared_server: EngramServer) -> Rest:
    """A server with the model "toy" that the tests of a file share."""
    rest = Rest(shared_server)
    assert rest("POST", "/v1/models", {"name": "toy", "spec": {"feature_count": 2}})[0] == 200
    return rest


def lines(count: int, first: int = 0) -> str:
    """Examples of two classes, a line each."""
    return "".join(
        json.dumps({"features": [i % 7, i % 2], "label": i % 2}) + "\n"
        for i in range(first, first + count)
    )


def learned(server: EngramServer) -> int:
    """How many examples the model has trained on, once everything durable is applied."""
    rest = Rest(server)
    assert rest("POST", "/v1/models/toy/wait", {"sequence": "0"})[0] == 200
    return int(rest("GET", "/v1/models/toy/report")[1]["train_examples"])


def test_an_upload_is_learned_once_whatever_happens_to_the_server(
    start_server: Callable[..., EngramServer],
) -> None:
    server = start_server(CONFIG)
    rest = Rest(server)
    upload = "producer=shop&sequence=1&batch=50"
    assert rest.learn(lines(300), upload)[1]["examples"] == "300"
    server.kill()
    server.start()
    code, again = rest.learn(lines(500), upload)
    assert (code, again["duplicates"], again["examples"]) == (200, "300", "200")
    assert again["next_sequence"] == "11"
    assert learned(server) == 500


def test_a_refused_message_is_refused_again_and_the_rest_is_learned_once(
    start_server: Callable[..., EngramServer],
) -> None:
    server = start_server(CONFIG)
    rest = Rest(server)
    body = lines(2) + '{"features": [1], "label": 1}\n{"features": [1, 2]\n' + lines(2, 2)
    for attempt in ("first", "second"):
        code, answer = rest.learn(body, "producer=shop&sequence=1&batch=1")
        assert code == 200, attempt
        assert answer["refused"] == "2"
        assert [each["first_line"] for each in answer["refusals"]] == [3, 4]
    assert "expected 2" in rest.learn('{"features": [1], "label": 1}')[1]["refusals"][0]["message"]
    assert learned(server) == 4


def test_a_process_of_its_own_counter_goes_on_after_refusals_and_new_models(
    start_server: Callable[..., EngramServer],
) -> None:
    server = start_server(CONFIG)
    rest = Rest(server)
    for _ in range(2):
        assert rest.learn('{"features": [1], "label": 1}')[1]["refused"] == "1"
        assert rest.learn(lines(3))[1]["examples"] == "3"
    assert rest("POST", "/v1/models/toy/boundary", {})[1]["next_task"] == "task-2"
    assert rest("DELETE", "/v1/models/toy")[0] == 200
    assert rest("POST", "/v1/models", {"name": "toy", "spec": {"feature_count": 2}})[0] == 200
    assert rest.learn(lines(3))[1]["examples"] == "3"


def test_a_large_upload_waits_to_be_asked(start_server: Callable[..., EngramServer]) -> None:
    server = start_server(CONFIG)
    rest = Rest(server)
    path = "/v1/models/toy/learn"
    code, answer = rest("POST", path, lines(40_000), NDJSON, Expect="100-continue")
    assert (code, answer["examples"]) == (200, "40000")


def test_a_model_lives_its_life(start_server: Callable[..., EngramServer]) -> None:
    rest = Rest(start_server(CONFIG))
    rest.learn(lines(200))
    rest("POST", "/v1/models/toy/wait", {"evaluated": True})
    assert rest("POST", "/v1/models/toy/checkpoints", {"label": "good"})[1]["label"] == "good"
    ask = {"features": {"values": [1, 1, 1, 0]}, "top_k": 1}
    before = rest("POST", "/v1/models/toy/predict", ask)[1]
    assert len(before["predictions"]) == 2
    rest.learn(lines(200))
    rest("POST", "/v1/models/toy/wait", {})
    undo = {"checkpoint": "good", "dry_run": True}
    assert rest("POST", "/v1/models/toy/rollback", undo)[1]["dropped_examples"] == "200"
    assert rest("POST", "/v1/models/toy/rollback", {"checkpoint": "good"})[1]["rollback_sequence"]
    after = rest("POST", "/v1/models/toy/predict", ask)[1]
    assert after["predictions"] == before["predictions"]
    names = [each["label"] for each in rest("GET", "/v1/models/toy/checkpoints")[1]["checkpoints"]]
    assert "good" in names
    assert rest("DELETE", "/v1/models/toy/checkpoints/nothing")[0] == 404
    assert rest("POST", "/v1/models/toy/pause", {})[1]["paused"]
    assert not rest("POST", "/v1/models/toy/resume", {})[1]["paused"]
    assert rest("GET", "/v1/limits")[1]["limits"]
    assert rest("GET", "/v1/strategies")[1]["strategies"]


def test_roles_are_those_of_grpc(start_server: Callable[..., EngramServer], tmp_path: Path) -> None:
    token_file = tmp_path / "tokens"
    token_file.touch(0o600)
    tokens = {role: role * 8 for role in ("reader", "writer", "admin")}
    token_file.write_text(
        "".join(
            f"{role} somebody {hashlib.sha256(token.encode()).hexdigest()}\n"
            for role, token in tokens.items()
        )
    )
    server = start_server(f'{CONFIG} authentication {{ token_file: "{token_file}" }}')
    calls = {
        "reader": ("GET", "/v1/models/toy/report", None, JSON),
        "writer": ("POST", "/v1/models/toy/learn", lines(1), NDJSON),
        "admin": ("POST", "/v1/models/toy/checkpoints", {}, JSON),
    }
    order = list(calls)
    for needed, call in calls.items():
        assert Rest(server)(*call)[0] == 401, needed
        assert Rest(server, "wrong")(*call)[0] == 401, needed
        for role, token in tokens.items():
            allowed = order.index(role) >= order.index(needed)
            assert Rest(server, token)(*call)[0] == (200 if allowed else 403), (needed, role)


def test_a_stranger_is_refused_before_his_body_is_read(
    start_server: Callable[..., EngramServer], tmp_path: Path
) -> None:
    token_file = tmp_path / "tokens"
    token_file.touch(0o600)
    token_file.write_text(f"reader r {hashlib.sha256(b'reading' * 4).hexdigest()}\n")
    server = start_server(f'{CONFIG} authentication {{ token_file: "{token_file}" }}')
    for path, content_type in {
        "/v1/models/toy/learn": NDJSON,
        "/v1/models/toy/predict": JSON,
        "/v2/models/toy/infer": JSON,
    }.items():
        connection = http.client.HTTPConnection(server.http_address, timeout=10)
        connection.putrequest("POST", path)
        connection.putheader("Content-Type", content_type)
        connection.putheader("Content-Length", "1000000")
        connection.endheaders()
        reply = connection.getresponse()
        assert reply.status == 401, path
        assert set(json.loads(reply.read())) == ({"error"} if "/v2" in path else STATUS_FIELDS)
        connection.close()


@pytest.mark.parametrize(
    ("verb", "path", "body", "content_type", "code", "words"),
    [
        ("GET", "/v1/nothing", None, JSON, 404, "path"),
        ("PUT", "/v1/models/toy", {}, JSON, 405, "takes GET, PATCH, DELETE"),
        ("GET", "/v1/models/nobody", None, JSON, 404, "nobody"),
        ("POST", "/v1/models", {"name": "a b"}, JSON, 400, "name"),
        ("POST", "/v1/models", "{", JSON, 400, "body: is no CreateModelRequest"),
        ("POST", "/v1/models", {}, "text/plain", 400, "expected application/json"),
        ("POST", "/v1/models/toy/predict", {"features": {"values": [1]}}, JSON, 400, "features"),
        ("POST", "/v1/models/toy/learn?sequence=0&producer=p", "", NDJSON, 400, "sequence"),
        ("POST", "/v1/models/toy/learn?sequence=9&producer=p", lines(1), NDJSON, 409, "9"),
        ("POST", "/v1/models/toy/learn", "x" * (2 << 20), NDJSON, 400, "line 1 has more than"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_bad_input_gets_a_clear_error(
    toy: Rest, verb: str, path: str, body: Any, content_type: str, code: int, words: str
) -> None:
    got, answer = toy(verb, path, body, content_type)
    assert got == code
    assert words in answer["message"]
    assert set(answer) >= STATUS_FIELDS
