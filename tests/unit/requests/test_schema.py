"""Requests: what is accepted, and what is refused with which words."""

from __future__ import annotations

import itertools
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from maintenance.domain import message_ids
from maintenance.domain.errors import InvalidRequest
from maintenance.domain.messages import MAX_BODY, Envelope, read_document, trace_of
from maintenance.domain.operation import Rollout
from maintenance.domain.resources import ScaleSet
from maintenance.requests.schema import MAX_HINTS, MaintenanceRequest, read_cancellation, read_request
from tests.support.samples import SCALE_SET, SUBSCRIPTION, envelope, request_body


def read(body: object, **changes: Any) -> MaintenanceRequest:
    received = envelope(body, **changes)
    return read_request(received, read_document(received))


def problems_of(body: object) -> dict[str, str]:
    """The problems of a bad request: messages by field."""
    with pytest.raises(InvalidRequest) as refused:
        read(body)
    return {problem.field: problem.message for problem in refused.value.problems}


def test_the_smallest_request_means_the_whole_scale_set_in_one_wave() -> None:
    request = read(request_body(instanceIds=...))
    assert request == MaintenanceRequest(request_id="req-1", scale_set=SCALE_SET)
    assert request.instance_ids is None
    assert request.rollout == Rollout()


def test_every_field_arrives() -> None:
    request = read(
        {
            "schemaVersion": 1,
            "requestId": "my-request",
            "resourceId": SCALE_SET.resource_id,
            "instanceIds": ["0", "3"],
            "notBefore": "2026-01-31T22:00:00Z",
            "deadline": "2026-02-01T06:00:00.5+01:00",
            "rollout": {
                "maxInstancesPerWave": "20%",
                "byUpdateDomain": True,
                "pauseBetweenWaves": "PT5M",
                "maxFailedInstances": 2,
            },
            "ineligible": "reject",
            "dryRun": True,
            "reason": "kernel",
        }
    )
    assert request == MaintenanceRequest(
        request_id="my-request",
        scale_set=SCALE_SET,
        instance_ids=("0", "3"),
        not_before=datetime(2026, 1, 31, 22, tzinfo=UTC),
        deadline=datetime(2026, 2, 1, 5, 0, 0, 500_000, tzinfo=UTC),
        rollout=Rollout(
            max_instances_per_wave="20%",
            by_update_domain=True,
            pause_between_waves=timedelta(minutes=5),
            max_failed_instances=2,
        ),
        reject_ineligible=True,
        dry_run=True,
        reason="kernel",
    )


def test_a_byte_order_mark_does_no_harm() -> None:
    assert read(b"\xef\xbb\xbf" + json.dumps(request_body()).encode()).instance_ids == ("0", "1", "2")


BAD_BODIES = {
    "not JSON": (b"restart everything", "must be JSON"),
    "nothing": (b"", "must be JSON"),
    "blank": (b" \r\n", "must be JSON"),
    "HTML": (b"<html></html>", "must be JSON"),
    "cut off": (b'{"subscriptionId": "', "must be JSON"),
    "two documents": (b"{}{}", "must be JSON"),
    "single quotes": (b"{'a': 1}", "must be JSON"),
    "a list": (b"[]", "must be a JSON object"),
    "null": (b"null", "must be a JSON object"),
    "a number": (b"17", "must be a JSON object"),
    "a string": (b'"x"', "must be a JSON object"),
    "not a number": (b'{"a": NaN}', "NaN is not a JSON value"),
    "infinity": (b'{"a": -Infinity}', "-Infinity is not a JSON value"),
    "no UTF-8": (b'{"a": "\xff"}', "must be UTF-8; byte 7 is not"),
    "UTF-16": ('{"a": 1}'.encode("utf-16"), "must be UTF-8"),
    "200 KB": (b" " * 200_000, "must be at most 100,000 bytes"),
    "one byte too many": (b'{"reason": "' + b"x" * (MAX_BODY - 13) + b'"}', "must be at most 100,000 bytes"),
    "nested deeply": (b"[" * 50_000 + b"]" * 50_000, "must be JSON: nested too deeply"),
    "an endless number": (b'{"a": ' + b"9" * 5_000 + b"}", "must be JSON"),
}


@pytest.mark.parametrize(("body", "told"), BAD_BODIES.values(), ids=BAD_BODIES.keys())
def test_a_body_that_is_no_json_object_is_refused_by_its_body(body: bytes, told: str) -> None:
    assert told in problems_of(body)["body"]


BAD_FIELDS: dict[str, tuple[dict[str, Any], str, str]] = {
    "no instances": ({"instanceIds": []}, "instanceIds", "at least one instance id"),
    "null instances": ({"instanceIds": None}, "instanceIds", "at least one instance id"),
    "instances as text": ({"instanceIds": "0"}, "instanceIds", "at least one instance id"),
    "instances as an object": ({"instanceIds": {"0": 1}}, "instanceIds", "at least one instance id"),
    "instances as numbers": ({"instanceIds": [0]}, "instanceIds.0", "valid string"),
    "a null instance": ({"instanceIds": ["0", None]}, "instanceIds.1", "valid string"),
    "a star": ({"instanceIds": ["*"]}, "instanceIds.0", "must be an instance id"),
    "a path for an instance": ({"instanceIds": ["../1"]}, "instanceIds.0", "must be an instance id"),
    "an empty instance": ({"instanceIds": [""]}, "instanceIds.0", "must be an instance id"),
    "an instance twice": ({"instanceIds": ["0", "1", "0"]}, "instanceIds", "each instance once; more than once: 0"),
    "an instance in two spellings": ({"instanceIds": ["vm_A", "vm_a"]}, "instanceIds", "more than once: vm_A, vm_a"),
    "1,001 instances": ({"instanceIds": [str(n) for n in range(1001)]}, "instanceIds", "at most 1000"),
    "dots for a group": ({"resourceGroupName": ".."}, "resourceGroupName", "must be a resource group name"),
    "a slash in a group": ({"resourceGroupName": "a/b"}, "resourceGroupName", "must be a resource group name"),
    "dots for a scale set": ({"vmScaleSetName": ".."}, "vmScaleSetName", "must be a scale set name"),
    "a slash in a scale set": ({"vmScaleSetName": "a/b"}, "vmScaleSetName", "must be a scale set name"),
    "a query in a scale set": ({"vmScaleSetName": "a?b"}, "vmScaleSetName", "must be a scale set name"),
    "no GUID": ({"subscriptionId": "prod"}, "subscriptionId", "must be a subscription id"),
    "a number for a name": ({"vmScaleSetName": 7}, "vmScaleSetName", "valid string"),
    "no scale set": ({"vmScaleSetName": ...}, "vmScaleSetName", "is missing"),
    "a null name": ({"vmScaleSetName": None}, "vmScaleSetName", "is missing"),
    "names and an id": ({"resourceId": SCALE_SET.resource_id}, "vmScaleSetName", "must be left out where resourceId"),
    "an id of something else": ({"resourceId": "/subscriptions/x"}, "resourceId", "subscription id"),
    "a misspelt field": ({"instanceIDs": ["0"]}, "instanceIDs", "did you mean instanceIds?"),
    "a field in Python's spelling": ({"instance_ids": ["0"]}, "instance_ids", "did you mean instanceIds?"),
    "a field of nothing": ({"zzz": 1}, "zzz", "is not a field of a maintenance request"),
    "a misspelt option": ({"rollout": {"maxInstancePerWave": 1}}, "rollout.maxInstancePerWave", "maxInstancesPerWave?"),
    "a rollout that is none": ({"rollout": []}, "rollout", "should be an object"),
    "no wave": ({"rollout": {"maxInstancesPerWave": 0}}, "rollout.maxInstancesPerWave", "from 1"),
    "a wave of true": ({"rollout": {"maxInstancesPerWave": True}}, "rollout.maxInstancesPerWave", "from 1"),
    "half an instance": ({"rollout": {"maxInstancesPerWave": 1.5}}, "rollout.maxInstancesPerWave", "from 1"),
    "no percent": ({"rollout": {"maxInstancesPerWave": "0%"}}, "rollout.maxInstancesPerWave", '"1%" to "100%"'),
    "over all": ({"rollout": {"maxInstancesPerWave": "101%"}}, "rollout.maxInstancesPerWave", '"1%" to "100%"'),
    "a number as text": ({"rollout": {"maxInstancesPerWave": "5"}}, "rollout.maxInstancesPerWave", '"100%"'),
    "text for yes": ({"rollout": {"byUpdateDomain": "yes"}}, "rollout.byUpdateDomain", "valid boolean"),
    "fewer than no failures": ({"rollout": {"maxFailedInstances": -1}}, "rollout.maxFailedInstances", "greater than"),
    "a pause in seconds": ({"rollout": {"pauseBetweenWaves": 30}}, "rollout.pauseBetweenWaves", "ISO 8601 duration"),
    "a clock time": ({"rollout": {"pauseBetweenWaves": "00:30"}}, "rollout.pauseBetweenWaves", "ISO 8601 duration"),
    "a negative pause": ({"rollout": {"pauseBetweenWaves": "-PT5M"}}, "rollout.pauseBetweenWaves", "ISO 8601"),
    "an endless pause": ({"rollout": {"pauseBetweenWaves": "P8D"}}, "rollout.pauseBetweenWaves", "at most 7 days"),
    "true as text": ({"dryRun": "true"}, "dryRun", "valid boolean"),
    "true as a number": ({"dryRun": 1}, "dryRun", "valid boolean"),
    "another word": ({"ineligible": "ignore"}, "ineligible", "'skip' or 'reject'"),
    "a time without offset": ({"notBefore": "2026-01-31T22:00:00"}, "notBefore", "RFC 3339"),
    "a date": ({"deadline": "2026-01-31"}, "deadline", "RFC 3339"),
    "seconds since 1970": ({"deadline": 1_800_000_000}, "deadline", "RFC 3339"),
    "February 30": ({"deadline": "2026-02-30T00:00:00Z"}, "deadline", ""),
    "the year 0": ({"deadline": "0000-01-01T00:00:00Z"}, "deadline", ""),
    "61 minutes": ({"deadline": "2026-01-01T00:61:00Z"}, "deadline", ""),
    "an offset of 99 hours": ({"deadline": "2026-01-01T00:00:00+99:00"}, "deadline", ""),
    "too many digits": ({"deadline": "2026-01-01T00:00:001Z"}, "deadline", ""),
    "a deadline before the start": (
        {"notBefore": "2026-02-01T00:00:00Z", "deadline": "2026-02-01T00:00:00Z"},
        "deadline",
        "must be after notBefore",
    ),
    "another version": ({"schemaVersion": 2}, "schemaVersion", "1"),
    "a version as text": ({"schemaVersion": "1"}, "schemaVersion", "1"),
    "true for a version": ({"schemaVersion": True}, "schemaVersion", "1"),
    "an id with blanks": ({"requestId": "a b"}, "requestId", "printable ASCII"),
    "an empty id": ({"requestId": ""}, "requestId", "printable ASCII"),
    "an id too long": ({"requestId": "x" * 101}, "requestId", "1 to 100"),
    "a reason too long": ({"reason": "x" * 1001}, "reason", "at most 1000"),
    "a line break in a reason": ({"reason": "a\nb"}, "reason", "one line without control characters"),
    "a tab in a reason": ({"reason": "a\tb"}, "reason", "one line without control characters"),
    "an escape sequence in a reason": ({"reason": "\x1b[2K"}, "reason", "one line without control characters"),
    "a control character of Latin-1": ({"reason": "\x9b31m"}, "reason", "one line without control characters"),
    "a line separator in a reason": ({"reason": "a\u2028b"}, "reason", "one line without control characters"),
    "a reason turned round": ({"reason": "\u202egnp.exe"}, "reason", "one line without control characters"),
    "an unknown field that is null": ({"dryrun": None}, "dryrun", "did you mean dryRun?"),
    "an unknown null in a rollout": ({"rollout": {"wave": None}}, "rollout.wave", "is not a field"),
}


@pytest.mark.parametrize(("fields", "field", "told"), BAD_FIELDS.values(), ids=BAD_FIELDS.keys())
def test_a_bad_field_is_named_with_what_is_wrong(fields: dict[str, Any], field: str, told: str) -> None:
    problems = problems_of(request_body(**fields))
    assert told in problems[field]
    assert problems[field]


def test_all_problems_are_named_at_once_with_the_offending_values() -> None:
    with pytest.raises(InvalidRequest) as refused:
        read(
            {
                "subscriptionId": "prod",
                "resourceGroupName": "..",
                "instanceIDs": ["0"],
                "deadline": "tomorrow",
                "rollout": {"byUpdateDomain": "yes", "maxInstancesPerWave": 0},
                "dryRun": "no",
            }
        )
    assert {problem.field: problem.value for problem in refused.value.problems} == {
        "subscriptionId": '"prod"',
        "resourceGroupName": '".."',
        "vmScaleSetName": None,
        "instanceIDs": '["0"]',
        "deadline": '"tomorrow"',
        "rollout.byUpdateDomain": '"yes"',
        "rollout.maxInstancesPerWave": "0",
        "dryRun": '"no"',
    }


@pytest.mark.parametrize("text", ['{"dryRun": true, "dryRun": false}', '{"rollout": {"a": 1, "a": 2}}'])
def test_a_name_that_stands_twice_is_refused_since_nobody_knows_which_is_meant(text: str) -> None:
    assert set(problems_of(text.encode()).values()) == {"appears more than once"}


def test_a_body_full_of_repeated_names_is_refused_without_comparing_each_with_each() -> None:
    names = ",".join(f'"{n % 2000:x}":1' for n in range(10_000))
    assert len(problems_of(f"{{{names}}}".encode())) == 2_000


def test_long_values_are_shown_shortened() -> None:
    with pytest.raises(InvalidRequest) as refused:
        read(request_body(reason="x" * 50_000, **{"y" * 20_000: 1}))
    for problem in refused.value.problems:
        assert len(str(problem)) < 500


@pytest.mark.parametrize("depth", range(50, 1_050, 25))
def test_nesting_of_any_depth_is_refused_with_a_reason(depth: int) -> None:
    body = b'{"rollout": ' + b'{"x":' * depth + b"1" + b"}" * depth + b"}"
    assert problems_of(body)


def test_a_request_is_known_by_its_own_id_then_its_messages_then_its_number() -> None:
    assert read(request_body(requestId="own")).request_id == "own"
    assert read(request_body(), message_id="message").request_id == "message"
    assert read(request_body(), message_id=None, sequence_number=12).request_id == "sequence-12"


@pytest.mark.parametrize("message_id", ["with blanks", "x" * 128, "größe", "a\nb"])
def test_a_message_id_that_ids_cannot_be_made_of_is_replaced_by_one_that_stays_the_same(message_id: str) -> None:
    first, second = (message_ids.request(None, message_id, 1) for _ in range(2))
    assert first == second
    assert first.startswith("message-")
    assert first.isascii()
    assert len(first) <= 100


@pytest.mark.parametrize("own", [None, 5, "a b", "", "x" * 101])
def test_bad_request_id_falls_back_to_the_message_id(own: object) -> None:
    assert message_ids.request(own, "m", 1) == "m"


def test_a_trace_is_carried_under_its_modern_name() -> None:
    assert trace_of({}) == {}
    assert trace_of({"traceparent": "00-a", "tracestate": "b", "other": "c"}) == {
        "traceparent": "00-a",
        "tracestate": "b",
    }
    assert trace_of({"Diagnostic-Id": "00-a"})["traceparent"] == "00-a"


def test_operation_has_every_field_of_its_request() -> None:
    received = envelope(request_body(reason="kernel"), correlation_id="c", properties={"traceparent": "00-t"})
    request = read_request(received, read_document(received))
    now = datetime(2026, 1, 1, tzinfo=UTC)
    operation = request.operation(requested_at=now, deadline=now, dry_run=True, envelope=received)
    assert operation.targets == ("0", "1", "2")
    assert (operation.request_id, operation.reason, operation.correlation_id) == ("req-1", "kernel", "c")
    assert operation.trace == {"traceparent": "00-t"}
    assert operation.dry_run
    assert operation.run_id == received.run_id


JSON = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(max_size=20),
        st.text(st.characters(categories=["Cs"]), max_size=3),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=10), inner, max_size=4)),
    max_leaves=12,
)
FIELDS = [
    *("schemaVersion", "requestId", "subscriptionId", "resourceGroupName", "vmScaleSetName", "resourceId"),
    *("instanceIds", "notBefore", "deadline", "rollout", "ineligible", "dryRun", "reason"),
]
ROLLOUT = st.dictionaries(
    st.sampled_from(["maxInstancesPerWave", "byUpdateDomain", "pauseBetweenWaves", "maxFailedInstances", "x"]),
    st.one_of(JSON, st.sampled_from(["PT5M", "P9999999999D", "20%", 3, True])),
)
VALUES = st.one_of(
    JSON,
    ROLLOUT,
    st.sampled_from(
        [SUBSCRIPTION, "web", SCALE_SET.resource_id, ["0", "1"], 1, "skip", "reject", True, "2026-01-31T22:00:00Z"]
    ),
    st.lists(st.sampled_from(["0", "1", "2", "*", ""]), max_size=4),
)
DOCUMENTS = st.builds(
    lambda base, changes: {**base, **changes},
    st.sampled_from([{}, request_body(), request_body(instanceIds=...)]),
    st.dictionaries(st.one_of(st.sampled_from(FIELDS), st.text(max_size=12)), VALUES, max_size=5),
)
BODIES = st.one_of(DOCUMENTS.map(lambda document: json.dumps(document).encode()), st.binary(max_size=200))


def accept_or_refuse(body: bytes) -> None:
    received = Envelope(body=body, message_id="m")
    try:
        document = read_document(received)
        request = read_request(received, document)
    except InvalidRequest as refused:
        assert refused.problems
        assert all(problem.field and problem.message for problem in refused.problems)
        assert str(refused)
        return
    assert isinstance(request.scale_set, ScaleSet)
    if request.instance_ids is None:
        assert not [name for name in document if name not in FIELDS]
        assert "instanceIds" not in document
    else:
        assert list(request.instance_ids) == document["instanceIds"]
        assert request.instance_ids
    for moment in (request.not_before, request.deadline):
        assert moment is None or moment.tzinfo is not None


@settings(derandomize=True, max_examples=150)
@given(BODIES)
def test_any_body_is_accepted_or_refused_with_a_reason(body: bytes) -> None:
    accept_or_refuse(body)


@pytest.mark.long
@pytest.mark.timeout(1800)
@settings(max_examples=100_000, suppress_health_check=list(HealthCheck))
@given(BODIES)
def test_any_of_100_000_bodies_is_accepted_or_refused_with_a_reason(body: bytes) -> None:
    accept_or_refuse(body)


@settings(derandomize=True, max_examples=300)
@given(st.text(max_size=20))
def test_no_misspelling_of_instance_ids_becomes_the_whole_scale_set(name: str) -> None:
    body = request_body(instanceIds=..., **{name: ["0"]}) if name not in FIELDS else request_body()
    try:
        request = read(body)
    except InvalidRequest:
        return
    assert request.instance_ids is not None


@pytest.mark.parametrize(
    "name",
    ["instanceIDs", "InstanceIds", "instanceids", "instanceId", "instances", "instance_ids", "instanceIds ", "ids"],
)
def test_a_likely_misspelling_of_instance_ids_is_refused(name: str) -> None:
    assert name in problems_of(request_body(instanceIds=..., **{name: ["0"]}))


NULLS = json.loads((Path(__file__).parents[2] / "data" / "requests" / "nulls_for_what_is_left_out.json").read_text())


def test_null_is_left_out_for_every_optional_field() -> None:
    names = ("subscriptionId", "resourceGroupName", "vmScaleSetName", "instanceIds")
    request = read(NULLS, message_id="m")
    expected = read(
        {**{name: NULLS[name] for name in names}, "rollout": {"byUpdateDomain": True, "maxFailedInstances": 0}},
        message_id="m",
    )
    assert request == expected
    assert request.content == expected.content


@pytest.mark.parametrize(
    "name", [name for name in FIELDS if name not in ("subscriptionId", "resourceGroupName", "vmScaleSetName")]
)
def test_null_is_refused_for_instance_ids_alone(name: str) -> None:
    body = request_body(**{name: None})
    if name == "instanceIds":
        assert "at least one instance id" in problems_of(body)[name]
    else:
        assert read(body) == read(request_body(**{name: ...}))


@pytest.mark.parametrize(
    "name", ["maxInstancesPerWave", "byUpdateDomain", "pauseBetweenWaves", "maxFailedInstances", "healthTimeout"]
)
def test_null_in_a_rollout_is_left_out(name: str) -> None:
    assert read(request_body(rollout={name: None})).rollout == Rollout()


def test_cancellation_may_have_a_null_reason_and_needs_what_it_cancels() -> None:
    names = {name: NULLS[name] for name in ("subscriptionId", "resourceGroupName", "vmScaleSetName")}
    assert read_cancellation({**names, "cancel": "a", "reason": None}).reason is None
    with pytest.raises(InvalidRequest):
        read_cancellation({**names, "cancel": None})
    with pytest.raises(InvalidRequest):
        read_cancellation({**names, "cancel": "a", "reason": "a\nb"})


@pytest.mark.parametrize("reason", ["größe 東京", "kernel 👩‍🔧 (CVE)", "می‌خواهم", "a\u00a0b", ""])
def test_reason_in_any_script_is_taken(reason: str) -> None:
    assert read(request_body(reason=reason)).reason == reason


def test_hints_are_given_for_the_first_twenty_unknown_fields() -> None:
    names = ("".join(each) for each in itertools.permutations("resourceGroupNam"))
    problems = problems_of(json.dumps(dict.fromkeys(itertools.islice(names, 4_000), 1)).encode())
    assert sum("did you mean" in message for message in problems.values()) == MAX_HINTS
    assert problems["body"] == "has 3,900 problems more"


@pytest.mark.parametrize("body", [b'{"a\\udfff": 1, "a\\udfff": 2}', b'{"\\n2026 INFO x\\u001b[2K\\u202e": 1}'])
def test_names_of_fields_are_made_printable(body: bytes) -> None:
    with pytest.raises(InvalidRequest) as refused:
        read(body)
    assert str(refused.value).isprintable()
