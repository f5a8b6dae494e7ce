"""Observations read from ARM's responses: one row per response."""

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


def response(status: int, body: Any = b"", **headers: str) -> ArmResponse:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return ArmResponse(status, {name.replace("_", "-"): value for name, value in headers.items()}, raw)


def error(code: str, message: str, **more: Any) -> dict[str, Any]:
    return {"error": {"code": code, "message": message, **more}}


CONFLICT = error("Conflict", "The instance is being deleted.")
BUSY = error("OperationNotAllowed", "A system upgrade is in progress. Please retry after some time.")
DETAIL = ErrorDetail("Conflict", "The instance is being deleted.")


def throttled(error: ErrorDetail, retry_after: timedelta | None = None) -> Throttled:
    return Throttled(error, retry_after, whole_subscription=False)


SUBMISSIONS: dict[str, tuple[ArmResponse, Submission]] = {
    "200": (response(200), Succeeded()),
    "200 with a body": (response(200, {"name": "web"}), Succeeded()),
    "200 with HTML": (
        response(200, HTML),
        Ambiguous(
            ErrorDetail("UnreadableResponse", f"HTTP 200 with a body that is not a JSON object ({len(HTML)} bytes)")
        ),
    ),
    "200 with an operation URL": (response(200, azure_asyncoperation=ASYNC), Accepted(ASYNC, "async-operation")),
    "200 that says it runs": (response(200, {"status": "InProgress"}), Accepted(None)),
    "200 that says Succeeded": (response(200, {"status": "succeeded"}), Succeeded()),
    "200 that says Failed": (response(200, {"status": "Failed", **CONFLICT}), Failed(DETAIL)),
    "200 that says canceled": (response(200, {"status": "CANCELED", **CONFLICT}), Failed(DETAIL, canceled=True)),
    "202 as recorded": (ArmResponse(202, BOTH), Accepted(ASYNC, "async-operation")),
    "202 with Location": (response(202, location=LOCATION), Accepted(LOCATION, "location")),
    "202 with an empty Azure-AsyncOperation": (
        response(202, azure_asyncoperation="", location=LOCATION),
        Accepted(LOCATION, "location"),
    ),
    "202 with Retry-After": (
        response(202, azure_asyncoperation=ASYNC, retry_after="17"),
        Accepted(ASYNC, "async-operation", seconds(17)),
    ),
    "202 without headers": (response(202), Accepted(None, "location")),
    "202 with HTML": (response(202, HTML, location=LOCATION), Accepted(LOCATION, "location")),
    "202 that says Failed": (
        response(202, {"status": "Failed", **CONFLICT}, azure_asyncoperation=ASYNC),
        Failed(DETAIL),
    ),
    "201": (response(201, location=LOCATION), Accepted(LOCATION, "location")),
    "204": (response(204), Ambiguous(ErrorDetail("Http204", "HTTP 204 with no body"))),
    "307": (
        response(307, location="https://evil.example"),
        Refused(ErrorDetail("Http307", "HTTP 307 with no body"), 307),
    ),
    "400": (response(400, CONFLICT), Refused(DETAIL, 400)),
    "401": (response(401, CONFLICT), Refused(DETAIL, 401)),
    "403": (response(403, CONFLICT), Refused(DETAIL, 403)),
    "404": (response(404, CONFLICT), Refused(DETAIL, 404)),
    "408": (response(408), Ambiguous(ErrorDetail("Http408", "HTTP 408 with no body"))),
    "409": (response(409, CONFLICT), Refused(DETAIL, 409)),
    "409 with Retry-After": (response(409, CONFLICT, retry_after="30"), throttled(DETAIL, seconds(30))),
    "409 with a Retry-After of zero": (response(409, CONFLICT, retry_after="0"), throttled(DETAIL, seconds(0))),
    "409 with a Retry-After in the past": (
        response(409, CONFLICT, retry_after="Sat, 31 Jan 2026 11:59:59 GMT"),
        throttled(DETAIL, seconds(0)),
    ),
    "409 that advises to retry": (
        response(409, BUSY),
        throttled(ErrorDetail("OperationNotAllowed", BUSY["error"]["message"])),
    ),
    "429": (response(429), Throttled(ErrorDetail("Http429", "HTTP 429 with no body"))),
    "429 with HTML": (
        response(429, HTML, retry_after="5"),
        Throttled(
            ErrorDetail("Http429", f"HTTP 429 with a body that is not an ARM error ({len(HTML)} bytes)"), seconds(5)
        ),
    ),
    "500": (response(500, CONFLICT), Ambiguous(DETAIL)),
    "502 with HTML": (
        response(502, HTML),
        Ambiguous(ErrorDetail("Http502", f"HTTP 502 with a body that is not an ARM error ({len(HTML)} bytes)")),
    ),
    "503 with Retry-After": (response(503, CONFLICT, retry_after="60"), Ambiguous(DETAIL, seconds(60))),
    "504": (response(504, CONFLICT), Ambiguous(DETAIL)),
}


@pytest.mark.parametrize(("got", "expected"), SUBMISSIONS.values(), ids=SUBMISSIONS.keys())
def test_response_to_post_is_read_as_reference_defines(got: ArmResponse, expected: Submission) -> None:
    assert read_submission(got, NOW) == expected


@pytest.mark.parametrize(
    "document",
    [
        json.loads(recorded("conflict_409_concurrent_request.json").body),
        error("ConflictingConcurrentWriteNotAllowed", "The operation was interrupted on the same entity."),
        error("AnotherOperationInProgress", "The scale set web is being changed."),
        error("Conflict", "Another operation on this or dependent resource is in progress."),
        error("OperationNotAllowed", "The scale set 'web' is currently being updated."),
        {"error": {"code": "Conflict", "message": "No.", "details": [{"code": "RetryableError", "message": "Soon."}]}},
    ],
)
def test_conflict_with_another_write_is_tried_again(document: dict[str, Any]) -> None:
    submission = read_submission(response(409, document), NOW)
    assert isinstance(submission, Throttled)
    assert not submission.whole_subscription
    assert submission.retry_after is None


def test_conflict_for_ineligible_instance_is_final_whatever_else_it_says() -> None:
    message = (
        "Operation 'performMaintenance' is not allowed on VM 'w_1' since the Subscription of this VM is not eligible."
    )
    for more in ("", " Do not retry.", " Another operation is in progress."):
        assert isinstance(read_submission(response(409, error("OperationNotAllowed", message + more)), NOW), Refused)


def test_throttling_with_json_as_text_in_its_details_is_read() -> None:
    submission = read_submission(recorded("throttled_429_details_as_json.json"), NOW)
    assert isinstance(submission, Throttled)
    assert (submission.retry_after, submission.error.code) == (seconds(862), "OperationNotAllowed")


def test_recorded_409_is_refused_with_azures_error() -> None:
    refused = read_submission(recorded("perform_maintenance_409.json"), NOW)
    assert refused == Refused(
        ErrorDetail(
            "OperationNotAllowed",
            "Operation 'performMaintenance' is not allowed on VM 'vmss1_1' "
            "since the Subscription of this VM is not eligible.",
        ),
        409,
    )


def test_documented_429_without_envelope_is_throttled() -> None:
    submission = read_submission(recorded("throttled_429_without_envelope.json"), NOW)
    assert isinstance(submission, Throttled)
    assert submission.retry_after == timedelta(minutes=20)
    assert submission.error.code == "OperationNotAllowed"
    assert [(detail.code, detail.target) for detail in submission.error.details] == [("TooManyRequests", "HighCostGet")]


ASYNC_READINGS: dict[str, tuple[ArmResponse, Reading]] = {
    "in progress": (response(200, {"status": "InProgress"}), Running("inprogress")),
    "in progress with Retry-After": (
        response(200, {"status": "InProgress"}, retry_after="12"),
        Running("inprogress", seconds(12)),
    ),
    "an undocumented status": (response(200, {"status": "Resolving"}), Running("resolving")),
    "a running operation with an error": (response(200, {"status": "Running", **CONFLICT}), Running("running")),
    "succeeded": (response(200, {"status": "Succeeded"}), Succeeded()),
    "succeeded in another letter case": (response(200, {"status": " sUCCEEDED\t"}), Succeeded()),
    "succeeded with CRLF": (response(200, b'{\r\n  "status": "Succeeded"\r\n}\r\n'), Succeeded()),
    "succeeded with a byte order mark": (response(200, b'\xef\xbb\xbf{"status": "Succeeded"}'), Succeeded()),
    "failed": (response(200, {"status": "Failed", **CONFLICT}), Failed(DETAIL)),
    "FAILED": (response(200, {"status": "FAILED", **CONFLICT}), Failed(DETAIL)),
    "failed without an error": (
        response(200, {"status": "Failed"}),
        Failed(ErrorDetail("OperationFailed", "The operation ended as failed; ARM gave no error.")),
    ),
    "failed with a null error": (
        response(200, {"status": "Failed", "error": None}),
        Failed(ErrorDetail("OperationFailed", "The operation ended as failed; ARM gave no error.")),
    ),
    "canceled": (response(200, {"status": "Canceled", **CONFLICT}), Failed(DETAIL, canceled=True)),
    "in progress with an ignored Location": (
        response(200, {"status": "Running"}, location=LOCATION),
        Running("running"),
    ),
    "429": (response(429, CONFLICT, retry_after="90"), Throttled(DETAIL, seconds(90))),
    "400": (response(400, CONFLICT), Unreadable(DETAIL)),
    "401": (response(401, CONFLICT), Unreadable(DETAIL)),
    "403": (response(403, CONFLICT), Unreported(DETAIL)),
    "404": (response(404, CONFLICT), Unreported(DETAIL, gone=True)),
    "408": (response(408, CONFLICT), Unreadable(DETAIL)),
    "409": (response(409, CONFLICT), Unreadable(DETAIL)),
    "410": (response(410, CONFLICT), Unreported(DETAIL, gone=True)),
    "500": (response(500, CONFLICT), Unreadable(DETAIL)),
    "503 with Retry-After": (response(503, CONFLICT, retry_after="5"), Unreadable(DETAIL, seconds(5))),
}

LOCATION_READINGS: dict[str, tuple[ArmResponse, Reading]] = {
    "202": (response(202), Running("inprogress")),
    "202 with Retry-After": (response(202, retry_after="12"), Running("inprogress", seconds(12))),
    "202 with another Location": (response(202, location=LOCATION), Running("inprogress", None, LOCATION)),
    "202 with an empty Location": (response(202, location=""), Running("inprogress")),
    "202 that says Failed": (response(202, {"status": "Failed", **CONFLICT}), Failed(DETAIL)),
    "202 that says Succeeded": (response(202, {"status": "Succeeded"}), Succeeded()),
    "200 as recorded": (response(200), Succeeded()),
    "200 with white space": (response(200, b"\r\n"), Succeeded()),
    "200 with the resource": (response(200, {"name": "web"}), Succeeded()),
    "200 that says Failed": (response(200, {"status": "failed", **CONFLICT}), Failed(DETAIL)),
    "200 that says Canceled": (response(200, {"status": "Canceled", **CONFLICT}), Failed(DETAIL, canceled=True)),
    "200 that says it runs": (response(200, {"status": "InProgress"}), Running("inprogress")),
    "200 with an error and no status": (response(200, CONFLICT), Failed(DETAIL)),
    "204": (response(204), Succeeded()),
    "400": (response(400, CONFLICT), Failed(DETAIL)),
    "401": (response(401, CONFLICT), Unreadable(DETAIL)),
    "403": (response(403, CONFLICT), Unreported(DETAIL)),
    "404": (response(404, CONFLICT), Unreported(DETAIL, gone=True)),
    "408": (response(408, CONFLICT), Unreadable(DETAIL)),
    "409": (response(409, CONFLICT), Failed(DETAIL)),
    "409 with Retry-After": (response(409, CONFLICT, retry_after="5"), Unreadable(DETAIL, seconds(5))),
    "409 with a Retry-After of zero": (response(409, CONFLICT, retry_after="0"), Unreadable(DETAIL, seconds(0))),
    "410": (response(410, CONFLICT), Unreported(DETAIL, gone=True)),
    "429": (response(429, CONFLICT), Throttled(DETAIL)),
    "500": (response(500, CONFLICT), Unreadable(DETAIL)),
    "503": (response(503, CONFLICT), Unreadable(DETAIL)),
}


@pytest.mark.parametrize(("got", "expected"), ASYNC_READINGS.values(), ids=ASYNC_READINGS.keys())
def test_response_at_azure_async_operation_is_read_as_contract_defines(got: ArmResponse, expected: Reading) -> None:
    assert read_operation(got, "async-operation", NOW) == expected


@pytest.mark.parametrize(("got", "expected"), LOCATION_READINGS.values(), ids=LOCATION_READINGS.keys())
def test_response_at_location_is_read_as_contract_defines(got: ArmResponse, expected: Reading) -> None:
    assert read_operation(got, "location", NOW) == expected


@pytest.mark.parametrize("kind", ["async-operation", "location"])
@pytest.mark.parametrize("body", [HTML, b"[]", b'"Succeeded"', b"{", b"\xff\xfe", b"[" * 5_000, b"17", b"null"])
def test_malformed_200_is_neither_success_nor_failure(body: bytes, kind: UrlKind) -> None:
    assert isinstance(read_operation(response(200, body), kind, NOW), Unreadable)


@pytest.mark.parametrize("body", [b"", b"{}", b'{"status": 1}', b'{"status": ""}', b'{"status": null}'])
def test_async_operation_without_status_is_not_a_success(body: bytes) -> None:
    assert isinstance(read_operation(response(200, body), "async-operation", NOW), Unreadable)


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
def test_retry_after_is_read_in_every_form(headers: dict[str, str], pause: timedelta | None) -> None:
    assert read_retry_after(headers, NOW) == pause


@settings(derandomize=True, max_examples=150)
@given(
    st.one_of(
        st.text(max_size=40),
        st.integers().map(str),
        st.from_regex(r"(Mon, )?\d{1,25} Jan \d{1,25} \d{1,3}:\d\d(:\d\d)? ([+-]\d{1,25}|GMT)", fullmatch=True),
    )
)
def test_any_retry_after_is_at_most_a_day_or_none(text: str) -> None:
    pause = read_retry_after({"retry-after": text}, NOW)
    assert pause is None or timedelta(0) <= pause <= LONGEST_RETRY_AFTER


def test_error_is_read_with_or_without_envelope_and_without_exception_dump() -> None:
    inner = {
        "code": "VMMaintenanceFailed",
        "message": "no",
        "target": "vm 3",
        "details": [{"code": "A", "message": "b", "target": "c"}, "nonsense"],
        "innererror": {"exceptiontype": "X", "errordetail": "at System.Threading…"},
    }
    expected = ErrorDetail("VMMaintenanceFailed", "no", "vm 3", (ErrorDetail("A", "b", "c"),))
    assert read_error(response(409, {"error": inner})) == read_error(response(409, inner)) == expected
    assert "System.Threading" not in repr(expected)


@pytest.mark.parametrize("body", [b"", HTML, b"[]", {"error": "text"}, {"error": None}, {"Message": "x"}])
def test_error_without_arm_error_has_its_status_as_code(body: object) -> None:
    assert read_error(response(503, body)).code == "Http503"


def test_empty_error_has_a_default_message() -> None:
    assert read_error(response(400, {"error": {}})) == ErrorDetail("Unknown", "ARM gave no message.")
    assert read_error(response(400, {"error": {"code": 5, "message": ["x"]}})) == ErrorDetail("5", "['x']")


def test_error_of_megabytes_is_cut_to_fit_an_event() -> None:
    long = "ü" * 3_000
    nested: dict[str, Any] = {"code": long, "message": long, "target": long}
    for _ in range(3):
        nested = {**nested, "details": [nested] * 5 + [{"code": long, "message": long}] * 25}
    read = read_error(response(409, {"error": nested}))
    assert read.code.startswith("üü")
    assert len(json.dumps(_plain(read), ensure_ascii=False).encode()) < 60_000


def _plain(detail: ErrorDetail) -> list[Any]:
    return [detail.code, detail.message, detail.target, [_plain(inner) for inner in detail.details]]


def test_operation_url_is_returned_verbatim() -> None:
    accepted = read_submission(response(202, azure_asyncoperation=OPERATION_URL), NOW)
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


@settings(derandomize=True, max_examples=150)
@given(
    st.integers(100, 599),
    st.one_of(st.binary(max_size=40), JSON_BODY),
    st.dictionaries(
        st.sampled_from(["location", "azure-asyncoperation", "retry-after", "retry-after-ms"]), st.text(max_size=20)
    ),
    st.sampled_from(["async-operation", "location"]),
)
def test_any_response_is_read_and_only_2xx_is_a_success(
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
def test_remaining_calls_are_the_lowest_reported_counter(headers: dict[str, str], remaining: int | None) -> None:
    assert read_remaining(headers) == remaining
    running = read_operation(ArmResponse(200, headers, b'{"status": "Running"}'), "async-operation", NOW)
    assert running == Running("running", remaining=remaining)
