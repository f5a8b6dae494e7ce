"""What the page leaves out of texts."""

from __future__ import annotations

import json

import pytest

from sandbox.page.redaction import LONGEST_TEXT, shown, shown_body

SECRET = "s3cr3t-signature-of-some-length"
TOKEN = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJzYW5kYm94In0.c2lnbmF0dXJl"


@pytest.mark.parametrize(
    "text",
    [
        f"https://management.azure.com/x?p=1&api-version=2&c={SECRET}&s={SECRET}",
        f"/subscriptions/1/operations/2?c={SECRET}",
        f"see http://127.0.0.1:1/x?sig={SECRET}, and more",
        json.dumps({"url": f"https://a.example/?c={SECRET}"}),
        json.dumps(json.dumps({"url": f"https://a.example/?t=1&c={SECRET}"})),
        f'{{"url": "https://a.example/\\u003fc={SECRET}"}}',
        f'{{"url": "https://a.example/?a=1\\u0026c={SECRET}"}}',
        f"Authorization: Bearer {SECRET}",
        f"Endpoint=sb://127.0.0.1;SharedAccessKeyName=x;SharedAccessKey={SECRET};Use=1",
    ],
)
def test_secret_is_left_out(text: str) -> None:
    assert SECRET not in shown(text)
    assert SECRET not in shown_body(text.encode())


def test_token_is_left_out_wherever_it_stands() -> None:
    assert "eyJ" not in shown(f'{{"note": "{TOKEN}"}}')


@pytest.mark.parametrize(
    "text", ["<img src=x onerror=alert(1)>", "why? since 1 = 1", '{"a": 1, "a": 2}', "\u202egnp.exe", "a=b&c=d"]
)
def test_other_text_stays_as_it_is(text: str) -> None:
    assert shown(text) == text


@pytest.mark.parametrize("part", ["eyJ", "eyJ-", "?", "?a", "bearer ", "SharedAccessKey "])
def test_hostile_text_takes_no_longer_than_its_length(part: str) -> None:
    assert len(shown_body((part * (900_000 // len(part))).encode())) <= LONGEST_TEXT + 100


def test_bytes_that_are_no_text_are_shown_by_number() -> None:
    assert shown_body(b"a\xff\xfe") == "a\\xff\\xfe"
