"""Who may use the page."""

from __future__ import annotations

import pytest

from sandbox.page.access import TOKEN_HEADER, denied

OPEN = frozenset({"/", "/app.js"})
HOST = {"Host": "127.0.0.1:8071"}
POST = HOST | {"Content-Type": "application/json", TOKEN_HEADER: "right", "Origin": "http://127.0.0.1:8071"}


def status(method: str, path: str, headers: dict[str, str], *, hosts: int = 1) -> int | None:
    found = denied(method, path, headers, hosts=hosts, token="right", open_paths=OPEN)
    return None if found is None else found.status


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("GET", "/stream", HOST),
        ("GET", "/stream", {"Host": "localhost:1"}),
        ("GET", "/stream", {"Host": "[::1]:8071"}),
        ("GET", "/stream", HOST | {"Sec-Fetch-Site": "same-origin"}),
        # A link in another page, as in the web editor whose terminal the address was printed in.
        ("GET", "/", HOST | {"Sec-Fetch-Site": "cross-site"}),
        ("POST", "/do", POST),
        ("POST", "/do", {name: value for name, value in POST.items() if name != "Origin"}),
    ],
)
def test_request_of_this_machine_is_served(method: str, path: str, headers: dict[str, str]) -> None:
    assert status(method, path, headers) is None


@pytest.mark.parametrize(
    ("method", "path", "headers", "expected"),
    [
        ("GET", "/", {}, 403),
        ("GET", "/", {"Host": "evil.example:8071"}, 403),
        ("GET", "/stream", {"Host": "127.0.0.1.evil.example"}, 403),
        ("GET", "/stream", {"Host": "127.0.0.1@evil.example"}, 403),
        ("GET", "/stream", {"Host": "[::1"}, 403),
        ("GET", "/stream", HOST | {"Origin": "https://evil.example"}, 403),
        ("GET", "/stream", HOST | {"Origin": "null"}, 403),
        ("GET", "/stream", HOST | {"Sec-Fetch-Site": "cross-site"}, 403),
        ("GET", "/messages", HOST | {"Sec-Fetch-Site": "same-site"}, 403),
        ("POST", "/do", POST | {"Origin": "http://127.0.0.1:3000"}, 403),
        ("POST", "/do", POST | {"Origin": "https://127.0.0.1:8071"}, 403),
        ("POST", "/do", POST | {TOKEN_HEADER: "wrong"}, 401),
        ("POST", "/do", POST | {TOKEN_HEADER: "rïght"}, 401),
        ("POST", "/do", HOST | {"Content-Type": "application/json"}, 401),
        ("POST", "/do", POST | {"Content-Type": "text/plain"}, 415),
        ("DELETE", "/do", POST, 405),
        ("OPTIONS", "/do", HOST, 405),
    ],
)
def test_request_of_others_is_denied(method: str, path: str, headers: dict[str, str], expected: int) -> None:
    assert status(method, path, headers) == expected


def test_two_host_headers_are_denied() -> None:
    assert status("GET", "/", HOST, hosts=2) == 403
