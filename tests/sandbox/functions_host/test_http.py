"""HTTP triggers, over a real socket."""

import contextlib
import json
import logging
import socket
from collections.abc import AsyncIterator

import azure.functions as func
import httpx
import pytest

from sandbox.functions_host import FunctionsHost
from tests.support.limit import LIMIT

KEY = "the-key-of-the-test"


def make_app() -> func.FunctionApp:
    app = func.FunctionApp(http_auth_level=func.AuthLevel.FUNCTION)

    @app.route("things/{kind}", methods=["POST"])
    async def echo(req: func.HttpRequest) -> func.HttpResponse:
        seen = {
            "method": req.method,
            "path": httpx.URL(req.url).path,
            "header": req.headers.get("X-Mine"),
            "query": req.params.get("q"),
            "kind": req.route_params["kind"],
            "json": req.get_json(),
        }
        return func.HttpResponse(
            json.dumps(seen), status_code=202, headers={"X-Theirs": "yes"}, mimetype="application/json"
        )

    @app.route("things/{kind}", methods=["DELETE"])
    def drop(req: func.HttpRequest) -> None: ...

    @app.route("open", auth_level=func.AuthLevel.ANONYMOUS)
    def in_a_thread(req: func.HttpRequest) -> str:
        return f"{len(req.get_body())} bytes"

    @app.route("broken", auth_level=func.AuthLevel.ANONYMOUS)
    async def broken(req: func.HttpRequest) -> func.HttpResponse:
        raise RuntimeError("not for clients")

    return app


@contextlib.asynccontextmanager
async def serving(host_json: dict[str, object] | None = None) -> AsyncIterator[httpx.AsyncClient]:
    host = FunctionsHost(make_app(), environment={}, host_json=host_json, function_key=KEY)
    async with host:
        assert host.http_endpoint is not None
        async with httpx.AsyncClient(base_url=host.http_endpoint, timeout=LIMIT) as client:
            yield client
    assert host.http_endpoint is None


async def test_request_reaches_the_function_and_its_response_the_client() -> None:
    async with serving() as client:
        response = await client.post(
            "/api/things/vm?q=1", json={"a": [1]}, headers={"x-functions-key": KEY, "x-mine": "m"}
        )
    assert response.status_code == 202
    assert response.headers["x-theirs"] == "yes"
    assert response.headers["content-type"] == "application/json"
    assert response.json() == {
        "method": "POST",
        "path": "/api/things/vm",
        "header": "m",
        "query": "1",
        "kind": "vm",
        "json": {"a": [1]},
    }


@pytest.mark.parametrize(
    ("headers", "query", "status"),
    [
        ({}, "", 401),
        ({"x-functions-key": "wrong"}, "", 401),
        ({}, "?code=wrong", 401),
        ({"x-functions-key": "größer"}, "", 401),
        ({"x-functions-key": KEY}, "", 204),
        ({}, f"?code={KEY}", 204),
    ],
)
async def test_the_key(headers: dict[str, str], query: str, status: int) -> None:
    async with serving() as client:
        raw = {name.encode(): value.encode() for name, value in headers.items()}
        response = await client.delete(f"/api/things/vm{query}", headers=raw)
    assert response.status_code == status


async def test_anonymous_any_method_in_a_thread_and_a_large_body() -> None:
    async with serving() as client:
        response = await client.put("/api/open", content=bytes(2_000_000))
    assert (response.status_code, response.text) == (200, "2000000 bytes")


@pytest.mark.parametrize(("method", "path"), [("GET", "/api/things/vm"), ("GET", "/api/other"), ("GET", "/open")])
async def test_what_no_trigger_names_is_not_found(method: str, path: str) -> None:
    async with serving() as client:
        assert (await client.request(method, path)).status_code == 404


async def test_an_error_is_500_without_its_text_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    async with serving() as client:
        response = await client.get("/api/broken?code=secret-of-a-caller")
    assert (response.status_code, response.content) == (500, b"")
    assert "broken GET /api/broken failed" in caplog.text
    assert "secret-of-a-caller" not in caplog.text


async def test_the_route_prefix_of_host_json() -> None:
    async with serving({"extensions": {"http": {"routePrefix": ""}}}) as client:
        assert (await client.get("/open")).status_code == 200


async def test_a_key_is_made_where_none_is_given() -> None:
    first, second = (FunctionsHost(make_app(), environment={}) for _ in range(2))
    assert len(first.function_key) >= 32
    assert first.function_key != second.function_key


async def test_the_log_has_one_line_for_each_run(caplog: pytest.LogCaptureFixture) -> None:
    async with serving() as client:
        caplog.clear()
        with caplog.at_level(logging.INFO, "sandbox"):
            await client.post("/api/things/vm", json={}, headers={"x-functions-key": KEY})
            lines = [record.getMessage() for record in caplog.records if record.name.startswith("sandbox")]
    assert len(lines) == 1
    assert lines[0].startswith("echo POST /api/things/vm succeeded ")
    assert lines[0].endswith(" ms")


async def test_a_port_that_is_taken() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=f"port {port}"):
            async with FunctionsHost(make_app(), environment={}, http_port=port):
                pass
