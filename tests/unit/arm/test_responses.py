"""What ARM's answers mean: one row an answer."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maintenance.arm.responses import (
    LONGEST_RETRY_AFTER,
    ArmResponse,
    read_error,
    read_operation,
    read_remaining,
    read_retry_after,
    read_submission,
)
from maintenance.domain.observations import (
    Accepted,
    Ambiguous,
    ErrorDetail,
    Failed,
    Reading,
    Refused,
    Running,
    Submission,
    Succeeded,
    Throttled,
    Unreadable,
    Unreported,
    UrlKind,
)
from tests.support.samples import NOW, OPERATION_URL, recorded, seconds

ASYNC = "https://management.azure.com/async"
LOCATION = "https://management.azure.com/location"
BOTH = {"azure-asyncoperation": ASYNC, "location": LOCATION}
HTML = b"<!DOCTYPE html>\r\n<html><body>Our services aren't available right now</body></html>"


def answer(status: int, body: Any = b"", **headers: str) -> ArmResponse:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return ArmResponse(status, {name.replace("_", "-"): value for name, value in headers.items()}, raw)


def error(code: str, message: str, **more: Any) -> dict[str, Any]:
    return {"error": {"code": code, "message": message, **more}}


CONFLICT = error("Conflict", "The instance is being deleted.")
BUSY = error("OperationNotAllowed", "A system upgrade is in progress. Please retry after some time.")
DETAIL = ErrorDetail("Conflict", "The instance is being deleted.")


def held_up(why: ErrorDetail, retry_after: timedelta | None = None) -> Throttled:
    return Throttled(why, retry_after, whole_subscription=False)


SUBMISSIONS: dict[str, tuple[ArmResponse, Submission]] = {
    "200": (answer(200), Succeeded()),
    "200 with a body": (answer(200, {"name": "web"}), Succeeded()),
    "200 with HTML": (
        answer(200, HTML),
        Ambiguous(ErrorDetail("UnreadableAnswer", f"HTTP 200 with a body that is no JSON object ({len(HTML)} bytes)")),
    ),
    "200 with a place to ask": (answer(200, azure_asyncoperation=ASYNC), Accepted(ASYNC, "async-operation")),
    "200 that says it runs": (answer(200, {"status": "InProgress"}), Accepted(None)),
    "200 that says Succeeded": (answer(200, {"status": "succeeded"}), Succeeded()),
    "200 that says Failed": (answer(200, {"status": "Failed", **CONFLICT}), Failed(DETAIL)),
    "200 that says canceled": (answer(200, {"status": "CANCELED", **CONFLICT}), Failed(DETAIL, canceled=True)),
    "202 as recorded": (ArmResponse(202, BOTH), Accepted(ASYNC, "async-operation")),
    "202 with Location": (answer(202, location=LOCATION), Accepted(LOCATION, "location")),
    "202 with an empty Azure-AsyncOperation": (
        answer(202, azure_asyncoperation="", location=LOCATION),
        Accepted(LOCATION, "location"),
    ),
    "202 with Retry-After": (
        answer(202, azure_asyncoperation=ASYNC, retry_after="17"),
        Accepted(ASYNC, "async-operation", seconds(17)),
    ),
    "202 without headers": (answer(202), Accepted(None, "location")),
    "202 with HTML": (answer(202, HTML, location=LOCATION), Accepted(LOCATION, "location")),
    "202 that says Failed": (
        answer(202, {"status": "Failed", **CONFLICT}, azure_asyncoperation=ASYNC),
        Failed(DETAIL),
    ),
    "201": (answer(201, location=LOCATION), Accepted(LOCATION, "location")),
    "204": (answer(204), Ambiguous(ErrorDetail("Http204", "HTTP 204 with no body"))),
    "307": (
        answer(307, location="https://evil.example"),
        Refused(ErrorDetail("Http307", "HTTP 307 with no body"), 307),
    ),
    "400": (answer(400, CONFLICT), Refused(DETAIL, 400)),
    "401": (answer(401, CONFLICT), Refused(DETAIL, 401)),
    "403": (answer(403, CONFLICT), Refused(DETAIL, 403)),
    "404": (answer(404, CONFLICT), Refused(DETAIL, 404)),
    "408": (answer(408), Ambiguous(ErrorDetail("Http408", "HTTP 408 with no body"))),
    "409": (answer(409, CONFLICT), Refused(DETAIL, 409)),
    "409 with Retry-After": (answer(409, CONFLICT, retry_after="30"), held_up(DETAIL, seconds(30))),
    "409 with a Retry-After of nothing": (answer(409, CONFLICT, retry_after="0"), held_up(DETAIL, seconds(0))),
    "409 with a Retry-After just past": (
        answer(409, CONFLICT, retry_after="Sat, 31 Jan 2026 11:59:59 GMT"),
        held_up(DETAIL, seconds(0)),
    ),
    "409 that advises to retry": (
        answer(409, BUSY),
        held_up(ErrorDetail("OperationNotAllowed", BUSY["error"]["message"])),
    ),
    "429": (answer(429), Throttled(ErrorDetail("Http429", "HTTP 429 with no body"))),
    "429 with HTML": (
        answer(429, HTML, retry_after="5"),
        Throttled(ErrorDetail("Http429", f"HTTP 429 with a body that is no ARM error ({len(HTML)} bytes)"), seconds(5)),
    ),
    "500": (answer(500, CONFLICT), Ambiguous(DETAIL)),
    "502 with HTML": (
        answer(502, HTML),
        Ambiguous(ErrorDetail("Http502", f"HTTP 502 with a body that is no ARM error ({len(HTML)} bytes)")),
    ),
    "503 with Retry-After": (answer(503, CONFLICT, retry_after="60"), Ambiguous(DETAIL, seconds(60))),
    "504": (answer(504, CONFLICT), Ambiguous(DETAIL)),
}


@pytest.mark.parametrize(("got", "meant"), SUBMISSIONS.values(), ids=SUBMISSIONS.keys())
def test_an_answer_to_the_post_means_what_the_reference_says(got: ArmResponse, meant: Submission) -> None:
    assert read_submission(got, NOW) == meant


def test_the_recorded_refusal_is_final_and_quotes_azure() -> None:
    refused = read_submission(recorded("perform_maintenance_409.json"), NOW)
    assert refused == Refused(
        ErrorDetail(
            "OperationNotAllowed",
            "Operation 'performMaintenance' is not allowed on VM 'vmss1_1' "
            "since the Subscription of this VM is not eligible.",
        ),
        409,
    )


def test_the_documented_throttling_is_read_though_it_has_no_envelope() -> None:
    throttled = read_submission(recorded("throttled_429_without_envelope.json"), NOW)
    assert isinstance(throttled, Throttled)
    assert throttled.retry_after == timedelta(minutes=20)
    assert throttled.error.code == "OperationNotAllowed"
    assert [(detail.code, detail.target) for detail in throttled.error.details] == [("TooManyRequests", "HighCostGet")]


ASYNC_READINGS: dict[str, tuple[ArmResponse, Reading]] = {
    "in progress": (answer(200, {"status": "InProgress"}), Running("inprogress")),
    "in progress, ask later": (
        answer(200, {"status": "InProgress"}, retry_after="12"),
        Running("inprogress", seconds(12)),
    ),
    "a status nobody documented": (answer(200, {"status": "Resolving"}), Running("resolving")),
    "a running operation with an error": (answer(200, {"status": "Running", **CONFLICT}), Running("running")),
    "succeeded": (answer(200, {"status": "Succeeded"}), Succeeded()),
    "succeeded in odd letters": (answer(200, {"status": " sUCCEEDED\t"}), Succeeded()),
    "succeeded with CRLF": (answer(200, b'{\r\n  "status": "Succeeded"\r\n}\r\n'), Succeeded()),
    "succeeded with a byte order mark": (answer(200, b'\xef\xbb\xbf{"status": "Succeeded"}'), Succeeded()),
    "failed": (answer(200, {"status": "Failed", **CONFLICT}), Failed(DETAIL)),
    "FAILED": (answer(200, {"status": "FAILED", **CONFLICT}), Failed(DETAIL)),
    "failed without an error": (
        answer(200, {"status": "Failed"}),
        Failed(ErrorDetail("OperationFailed", "The operation ended as failed; ARM gave no error.")),
    ),
    "failed with a null error": (
        answer(200, {"status": "Failed", "error": None}),
        Failed(ErrorDetail("OperationFailed", "The operation ended as failed; ARM gave no error.")),
    ),
    "canceled": (answer(200, {"status": "Canceled", **CONFLICT}), Failed(DETAIL, canceled=True)),
    "Location is not for this kind": (answer(200, {"status": "Running"}, location=LOCATION), Running("running")),
    "429": (answer(429, CONFLICT, retry_after="90"), Throttled(DETAIL, seconds(90))),
    "400": (answer(400, CONFLICT), Unreadable(DETAIL)),
    "401": (answer(401, CONFLICT), Unreadable(DETAIL)),
    "403": (answer(403, CONFLICT), Unreported(DETAIL)),
    "404": (answer(404, CONFLICT), Unreported(DETAIL, gone=True)),
    "408": (answer(408, CONFLICT), Unreadable(DETAIL)),
    "409": (answer(409, CONFLICT), Unreadable(DETAIL)),
    "410": (answer(410, CONFLICT), Unreported(DETAIL, gone=True)),
    "500": (answer(500, CONFLICT), Unreadable(DETAIL)),
    "503 with Retry-After": (answer(503, CONFLICT, retry_after="5"), Unreadable(DETAIL, seconds(5))),
}

LOCATION_READINGS: dict[str, tuple[ArmResponse, Reading]] = {
    "202": (answer(202), Running("inprogress")),
    "202, ask later": (answer(202, retry_after="12"), Running("inprogress", seconds(12))),
    "202, ask elsewhere": (answer(202, location=LOCATION), Running("inprogress", None, LOCATION)),
    "202, with an empty Location": (answer(202, location=""), Running("inprogress")),
    "202 that says Failed": (answer(202, {"status": "Failed", **CONFLICT}), Failed(DETAIL)),
    "202 that says Succeeded": (answer(202, {"status": "Succeeded"}), Succeeded()),
    "200 as recorded": (answer(200), Succeeded()),
    "200 with blanks": (answer(200, b"\r\n"), Succeeded()),
    "200 with the resource": (answer(200, {"name": "web"}), Succeeded()),
    "200 that says Failed": (answer(200, {"status": "failed", **CONFLICT}), Failed(DETAIL)),
    "200 that says Canceled": (answer(200, {"status": "Canceled", **CONFLICT}), Failed(DETAIL, canceled=True)),
    "200 that says it runs": (answer(200, {"status": "InProgress"}), Running("inprogress")),
    "200 with an error and no status": (answer(200, CONFLICT), Failed(DETAIL)),
    "204": (answer(204), Succeeded()),
    "400": (answer(400, CONFLICT), Failed(DETAIL)),
    "401": (answer(401, CONFLICT), Unreadable(DETAIL)),
    "403": (answer(403, CONFLICT), Unreported(DETAIL)),
    "404": (answer(404, CONFLICT), Unreported(DETAIL, gone=True)),
    "408": (answer(408, CONFLICT), Unreadable(DETAIL)),
    "409": (answer(409, CONFLICT), Failed(DETAIL)),
    "409 with Retry-After": (answer(409, CONFLICT, retry_after="5"), Unreadable(DETAIL, seconds(5))),
    "409 with a Retry-After of nothing": (answer(409, CONFLICT, retry_after="0"), Unreadable(DETAIL, seconds(0))),
    "410": (answer(410, CONFLICT), Unreported(DETAIL, gone=True)),
    "429": (answer(429, CONFLICT), Throttled(DETAIL)),
    "500": (answer(500, CONFLICT), Unreadable(DETAIL)),
    "503": (answer(503, CONFLICT), Unreadable(DETAIL)),
}


@pytest.mark.parametrize(("got", "meant"), ASYNC_READINGS.values(), ids=ASYNC_READINGS.keys())
def test_an_answer_at_azure_async_operation_means_what_the_contract_says(got: ArmResponse, meant: Reading) -> None:
    assert read_operation(got, "async-operation", NOW) == meant


@pytest.mark.parametrize(("got", "meant"), LOCATION_READINGS.values(), ids=LOCATION_READINGS.keys())
def test_an_answer_at_location_means_what_the_contract_says(got: ArmResponse, meant: Reading) -> None:
    assert read_operation(got, "location", NOW) == meant


@pytest.mark.parametrize("kind", ["async-operation", "location"])
@pytest.mark.parametrize("body", [HTML, b"[]", b'"Succeeded"', b"{", b"\xff\xfe", b"[" * 5_000, b"17", b"null"])
def test_a_200_that_cannot_be_read_is_neither_success_nor_failure(body: bytes, kind: UrlKind) -> None:
    assert isinstance(read_operation(answer(200, body), kind, NOW), Unreadable)


@pytest.mark.parametrize("body", [b"", b"{}", b'{"status": 1}', b'{"status": ""}', b'{"status": null}'])
def test_an_async_operation_without_a_status_is_not_called_a_success(body: bytes) -> None:
    assert isinstance(read_operation(answer(200, body), "async-operation", NOW), Unreadable)


@pytest.mark.parametrize(
    ("headers", "pause"),
    [
        ({}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "0"}, seconds(0)),
        ({"retry-after": "17"}, seconds(17)),
        ({"retry-after": " 17 "}, seconds(17)),
        ({"retry-after": "007"}, seconds(7)),
        ({"retry-after": "1200"}, timedelta(minutes=20)),
        ({"retry-after": "9" * 40}, LONGEST_RETRY_AFTER),
        ({"retry-after": "Sat, 31 Jan 2026 12:00:30 GMT"}, seconds(30)),
        ({"retry-after": "Saturday, 31-Jan-26 12:00:30 GMT"}, seconds(30)),
        ({"retry-after": "Sat Jan 31 12:00:30 2026"}, seconds(30)),
        ({"retry-after": "Sat, 31 Jan 2026 11:00:00 GMT"}, seconds(0)),
        ({"retry-after": "Sat, 31 Jan 2099 12:00:00 GMT"}, LONGEST_RETRY_AFTER),
        ({"retry-after-ms": "1500"}, seconds(1.5)),
        ({"x-ms-retry-after-ms": "1500"}, seconds(1.5)),
        ({"retry-after-ms": "1500", "retry-after": "2"}, seconds(1.5)),
        ({"retry-after-ms": "soon", "retry-after": "2"}, seconds(2)),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "1.5"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "٣"}, None),
        ({"retry-after": "Sat, 31 Jan 99999999999999999999 12:00:00 GMT"}, None),
        ({"retry-after": "Sat, 31 Jan 2026 12:00:00 +99999999999999999999"}, None),
        ({"retry-after": "Sat, 31 Jan 2026 99:99:99 GMT"}, None),
    ],
)
def test_retry_after_is_read_in_all_its_forms(headers: dict[str, str], pause: timedelta | None) -> None:
    assert read_retry_after(headers, NOW) == pause


@settings(derandomize=True, max_examples=300, deadline=None)
@given(
    st.one_of(
        st.text(max_size=40),
        st.integers().map(str),
        st.from_regex(r"(Mon, )?\d{1,25} Jan \d{1,25} \d{1,3}:\d\d(:\d\d)? ([+-]\d{1,25}|GMT)", fullmatch=True),
    )
)
def test_any_retry_after_is_a_pause_of_at_most_a_day_or_none(text: str) -> None:
    pause = read_retry_after({"retry-after": text}, NOW)
    assert pause is None or timedelta(0) <= pause <= LONGEST_RETRY_AFTER


def test_an_error_is_read_with_and_without_its_envelope_and_never_with_its_exception_dump() -> None:
    inner = {
        "code": "VMMaintenanceFailed",
        "message": "no",
        "target": "vm 3",
        "details": [{"code": "A", "message": "b", "target": "c"}, "nonsense"],
        "innererror": {"exceptiontype": "X", "errordetail": "at System.Threading…"},
    }
    expected = ErrorDetail("VMMaintenanceFailed", "no", "vm 3", (ErrorDetail("A", "b", "c"),))
    assert read_error(answer(409, {"error": inner})) == read_error(answer(409, inner)) == expected
    assert "System.Threading" not in repr(expected)


@pytest.mark.parametrize("body", [b"", HTML, b"[]", {"error": "text"}, {"error": None}, {"Message": "x"}])
def test_an_error_that_is_no_arm_error_is_told_by_its_status(body: object) -> None:
    assert read_error(answer(503, body)).code == "Http503"


def test_an_error_with_nothing_in_it_still_reads_as_a_sentence() -> None:
    assert read_error(answer(400, {"error": {}})) == ErrorDetail("Unknown", "ARM gave no message.")
    assert read_error(answer(400, {"error": {"code": 5, "message": ["x"]}})) == ErrorDetail("5", "['x']")


def test_an_error_of_megabytes_is_cut_to_what_an_event_can_carry() -> None:
    long = "ü" * 3_000
    nested: dict[str, Any] = {"code": long, "message": long, "target": long}
    for _ in range(3):
        nested = {**nested, "details": [nested] * 5 + [{"code": long, "message": long}] * 25}
    told = read_error(answer(409, {"error": nested}))
    assert told.code.startswith("üü")
    assert len(json.dumps(_plain(told), ensure_ascii=False).encode()) < 60_000


def _plain(detail: ErrorDetail) -> list[Any]:
    return [detail.code, detail.message, detail.target, [_plain(inner) for inner in detail.details]]


def test_an_operation_url_is_taken_verbatim() -> None:
    accepted = read_submission(answer(202, azure_asyncoperation=OPERATION_URL), NOW)
    assert accepted == Accepted(OPERATION_URL, "async-operation")


JSON_BODY = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(["error", "status", "code", "message", "details", "target"]), inner, max_size=4
        ),
    ),
    max_leaves=8,
).map(lambda document: json.dumps(document).encode())


@settings(derandomize=True, max_examples=400, deadline=None)
@given(
    st.integers(100, 599),
    st.one_of(st.binary(max_size=40), JSON_BODY),
    st.dictionaries(
        st.sampled_from(["location", "azure-asyncoperation", "retry-after", "retry-after-ms"]), st.text(max_size=20)
    ),
    st.sampled_from(["async-operation", "location"]),
)
def test_any_answer_means_something_and_none_but_2xx_means_success(
    status: int, body: bytes, headers: dict[str, str], kind: UrlKind
) -> None:
    got = ArmResponse(status, headers, body)
    submission, reading = read_submission(got, NOW), read_operation(got, kind, NOW)
    if not 200 <= status < 300:
        assert not isinstance(submission, (Succeeded, Accepted))
        assert not isinstance(reading, (Succeeded, Running))
    if b'"failed"' in body.lower() and isinstance(reading, Succeeded):
        document = json.loads(body)
        assert str(document.get("status")).strip().lower() != "failed"


@pytest.mark.parametrize(
    ("headers", "remaining"),
    [
        ({}, None),
        ({"x-ms-ratelimit-remaining-subscription-reads": "249"}, 249),
        ({"x-ms-ratelimit-remaining-subscription-writes": "3"}, None),
        (
            {
                "x-ms-ratelimit-remaining-subscription-reads": "9",
                "x-ms-ratelimit-remaining-subscription-global-reads": "8",
            },
            8,
        ),
        (
            {
                "x-ms-ratelimit-remaining-subscription-reads": "100",
                "x-ms-ratelimit-remaining-resource": "Microsoft.Compute/Get3Min;12, Microsoft.Compute/Get30Min;900",
            },
            12,
        ),
        ({"x-ms-ratelimit-remaining-resource": "Microsoft.Compute/GetOperation3Min;soon,nothing,;-1"}, None),
        ({"x-ms-ratelimit-remaining-subscription-reads": " 5 "}, 5),
        ({"x-ms-ratelimit-remaining-subscription-reads": "٣"}, None),
    ],
)
def test_the_calls_that_are_left_are_the_lowest_counter_told(headers: dict[str, str], remaining: int | None) -> None:
    assert read_remaining(headers) == remaining
    running = read_operation(ArmResponse(200, headers, b'{"status": "Running"}'), "async-operation", NOW)
    assert running == Running("running", remaining=remaining)
