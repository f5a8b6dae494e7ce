"""Strict JSON: nesting has a bound that is found in linear time."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maintenance.alerts.lenient_json import fields_of, parsed
from maintenance.alerts.schemas import alert_in
from maintenance.arm.responses import ArmResponse, read_error
from maintenance.domain.errors import InvalidRequest
from maintenance.domain.formats import MAX_DEPTH, parse_json, read_json

TOO_DEEP = MAX_DEPTH + 1


def nested(depth: int, kind: str = "[]") -> str:
    return "[" * depth + "]" * depth if kind == "[]" else '{"a":' * depth + "1" + "}" * depth


@pytest.mark.parametrize("kind", ["[]", "{}"])
def test_nesting_has_a_bound(kind: str) -> None:
    assert parse_json(nested(MAX_DEPTH, kind))
    for depth in (TOO_DEEP, 900, 1_000, 50_000):
        with pytest.raises(ValueError, match="nested too deeply"):
            parse_json(nested(depth, kind))


@pytest.mark.parametrize("text", ['"' + "[" * 100 + '"', '["' + '\\"[' * 100 + '"]', '{"a": "' + "{" * 100 + '\\\\"}'])
def test_brackets_in_strings_do_not_count(text: str) -> None:
    assert parse_json(text) == json.loads(text)


def test_what_is_side_by_side_does_not_count() -> None:
    assert len(parse_json("[" + ",".join(["[[]]"] * 1_000) + "]")) == 1_000


@pytest.mark.parametrize("piece", ['\\"', '"', "\\", "[", "{", "]", '"[', '[\\"', '"\\'])
def test_depth_of_long_malformed_text_is_found(piece: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_json("[" * 65 + piece * (250_000 // len(piece)))


@given(st.recursive(st.text(max_size=5) | st.none(), lambda inner: st.lists(inner, max_size=3)))
def test_flat_documents_are_read_as_ever(document: Any) -> None:
    for text in (json.dumps(document), json.dumps(document, ensure_ascii=False)):
        assert parse_json(text) == document


@pytest.mark.parametrize("depth", [TOO_DEEP, 300, 985, 995, 1_200])
def test_bound_holds_wherever_json_is_read(depth: int) -> None:
    with pytest.raises(InvalidRequest, match="nested too deeply"):
        read_json(b'{"cancel":' + nested(depth).encode() + b"}", 100_000)
    assert parsed(nested(depth)) is None
    assert fields_of(nested(depth, "{}")) == {}
    assert alert_in({"specversion": "1.0", "data": nested(depth, "{}")}) is None
    assert read_error(ArmResponse(400, {}, nested(depth, "{}").encode())).code == "Http400"
