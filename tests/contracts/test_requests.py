"""What the worker accepts and what the schema accepts is the same set, but for the rules that the schema names."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from sandbox.message_schemas import BY_FIELD, REQUEST
from tests.contracts.schema_documents import messages
from tests.support.contract import check_verdict, named, other_rule_broken, schema_accepts, worker_accepts

SUBSCRIPTION = "11111111-1111-4111-8111-111111111111"
NAMES = {"subscriptionId": SUBSCRIPTION, "resourceGroupName": "shop", "vmScaleSetName": "web"}
RESOURCE_ID = (
    f"/subscriptions/{SUBSCRIPTION}/resourceGroups/shop/providers/Microsoft.Compute/virtualMachineScaleSets/web"
)
HEALTH = [HealthCheck.too_slow, HealthCheck.filter_too_much]


durations = st.one_of(
    st.from_regex(r"\AP(\d{1,2}D)?(T(\d{1,3}H)?(\d{1,5}M)?(\d{1,6}(\.\d{1,3})?S)?)?\Z"),
    st.sampled_from(("P7D", "P1W", "P2W", "PT168H", "PT168H1S", "PT10080M", "PT604800.0S", "PT604800.1S", "P7DT0H")),
    st.sampled_from(("PT1H90M", "PT1.5H", "P1Y", "P1M", "P", "PT", "P1DT", "-P1D", "PT5M\n", "pt5m", "PT٥M", 5, True)),
)
times = st.one_of(
    st.datetimes().map(lambda each: each.isoformat() + "Z"),
    st.tuples(st.integers(1, 9999), st.integers(0, 13), st.integers(0, 32)).map(
        lambda each: f"{each[0]:04}-{each[1]:02}-{each[2]:02}T12:00:00+02:00"
    ),
    st.from_regex(r"\A20\d\d-0\d-[0-3]\d[Tt _]\d\d:[0-6]\d:[0-6]\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)?\Z"),
    st.sampled_from(
        (
            "2024-02-29T00:00:00Z",
            "1900-02-29T00:00:00Z",
            "2000-02-29T00:00:00z",
            "0001-01-01T00:00:00+14:00",
            "9999-12-31T23:59:59-23:59",
            "0000-01-01T00:00:00Z",
            "2026-01-01T00:00:00+01:60",
            "2026-01-01T00:00:00Z\n",
            7,
        )
    ),
)
texts = st.one_of(
    st.text(max_size=4), st.sampled_from(("", "a\n", "\u202e", "größe", "x.", "a.b", "-", "a" * 200, "0\n"))
)
ids: st.SearchStrategy[Any] = st.one_of(
    st.lists(st.one_of(st.from_regex(r"\A[A-Za-z0-9_.\-]{1,3}\Z"), texts, st.none(), st.integers()), max_size=4),
    st.sampled_from((None, "0", {}, ["0", "0"], ["a", "A"], ["0"] * 1001, [str(each) for each in range(1001)])),
)
numbers = st.one_of(
    st.integers(-3, 120), st.sampled_from((1.0, 2.5, 1e30, 2**31 - 1, 2**31, 1e300, True, False, "1", "0%", "007%"))
)
rollouts = st.one_of(
    st.sampled_from(([], "x", True, {"byUpdatedomain": True}, {"x": 1})),
    st.fixed_dictionaries(
        {},
        optional={
            "maxInstancesPerWave": numbers | st.none() | st.integers(0, 120).map(lambda each: f"{each}%"),
            "byUpdateDomain": st.sampled_from((True, False, None, 1, "true")),
            "pauseBetweenWaves": durations | st.none(),
            "maxFailedInstances": numbers | st.none(),
            "healthTimeout": durations | st.none(),
            "gate": st.sampled_from(("first", "everyWave", "everywave", True, None)),
            "gateTimeout": durations | st.none(),
            "atGateTimeout": st.sampled_from(("stop", "proceed", "", None, 1)),
        },
    ),
)
windows: st.SearchStrategy[Any] = st.one_of(
    st.sampled_from((None, [], {}, "x", [{}], [None], [{"schedule": "0 22 * * SAT"}], [{"duration": "PT1H"}] * 11)),
    st.lists(
        st.fixed_dictionaries(
            {
                "schedule": st.sampled_from(("0 22 * * SAT", "*/5 1-3,22 1 jan-mar 7", "0 0 30 2 *", "0 0 * * FRI-MON"))
                | st.sampled_from(("0 22 * * 8", "0  22 * * 1", "60 0 * * 1", "0 24 * * *", "0 0 L * *", "0 0 * * 1#2"))
                | st.sampled_from(("0 22 * * SAT\n", "0 22 * *", "0 0 22 * * 1", "*/0 * * * *", "@daily", None, 5)),
                "duration": durations | st.sampled_from(("PT6H", "PT0S", "P0D", None)),
            },
            optional={
                "timeZone": st.sampled_from(("Europe/Berlin", "UTC", "europe/berlin ", "W. Europe Standard Time"))
                | st.sampled_from((None, "", "../UTC", "localtime", "Europe/Nowhere", "Europe/Berlin\n", 1)),
                "timezone": st.just("UTC"),
            },
        ),
        min_size=1,
        max_size=2,
    ),
)
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "schemaVersion": st.sampled_from((1, 1.0, 2, True, "1", None)),
    "requestId": texts | st.none() | st.from_regex(r"\A[!-~]{1,101}\Z"),
    "instanceIds": ids,
    "notBefore": times | st.none(),
    "deadline": times | st.none(),
    "rollout": rollouts | st.none(),
    "windows": windows,
    "ineligible": st.sampled_from(("skip", "reject", "Skip", "", None, 1)),
    "dryRun": st.sampled_from((True, False, None, 0, "true")),
    "reason": texts | st.none() | st.sampled_from(("x" * 1000, "x" * 1001, "👩‍💻", "a\u2028b", "\x7f", "\ud800")),
    "resourceId": st.none()
    | st.sampled_from((RESOURCE_ID, RESOURCE_ID.upper(), f"{RESOURCE_ID}/", f"{RESOURCE_ID}\n"))
    | st.sampled_from((f"{RESOURCE_ID}//", SUBSCRIPTION, RESOURCE_ID.replace("shop", "größe"), "", 1)),
    "cancel": texts | st.none(),
    "unknown": st.none() | st.integers(),
}


@settings(max_examples=60, suppress_health_check=HEALTH)
@given(changes=st.fixed_dictionaries({}, optional=FIELDS), by_id=st.booleans())
@example(changes={"requestId": None, "rollout": {"healthTimeout": None}, "ineligible": None}, by_id=False)
@example(changes={"instanceIds": ["a", "A"]}, by_id=False)
@example(changes={"rollout": {"maxInstancesPerWave": 2.0}}, by_id=False)
@example(changes={"rollout": {"maxFailedInstances": 1.0}}, by_id=True)
def test_any_document_gets_the_same_verdict_from_worker_and_schema(changes: dict[str, Any], by_id: bool) -> None:
    check_verdict({**({"resourceId": RESOURCE_ID} if by_id else NAMES), **changes})


@pytest.mark.parametrize(
    "name", [name for name in FIELDS if name not in ("cancel", "unknown", "schemaVersion", "dryRun")]
)
def test_each_field_alone_gets_the_same_verdict_from_worker_and_schema(name: str) -> None:
    @settings(max_examples=60, suppress_health_check=HEALTH)
    @given(value=FIELDS[name])
    def check(value: Any) -> None:
        check_verdict({**({} if name == "resourceId" else NAMES), name: value})

    check()


@settings(max_examples=60, suppress_health_check=HEALTH)
@given(names=st.fixed_dictionaries({}, optional={name: texts | st.none() | st.just(NAMES[name]) for name in NAMES}))
def test_names_or_resource_id_get_the_same_verdict_from_worker_and_schema(names: dict[str, Any]) -> None:
    check_verdict(names)
    check_verdict({**names, "resourceId": RESOURCE_ID})
    check_verdict({**NAMES, **names})


scopes = st.sampled_from((SUBSCRIPTION, RESOURCE_ID, f"/subscriptions/{SUBSCRIPTION}/", RESOURCE_ID[:-30], "", None, 1))
groups = texts.map(lambda group: f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{group}")


@settings(max_examples=60, suppress_health_check=HEALTH)
@given(
    kind=st.sampled_from(("pause", "resume")),
    asked=st.none()
    | st.fixed_dictionaries({"scope": scopes | groups}, optional={"until": times, "reason": texts, "x": st.none()}),
    more=st.sampled_from(({}, {"schemaVersion": None}, {"schemaVersion": 2}, NAMES)),
)
def test_pause_gets_the_same_verdict_from_worker_and_schema(kind: str, asked: Any, more: Any) -> None:
    check_verdict({kind: asked, **more})


@settings(max_examples=60, suppress_health_check=HEALTH)
@given(cancel=texts | st.none() | st.integers(), reason=texts | st.none(), more=st.sampled_from(({}, {"dryRun": None})))
def test_cancellation_gets_the_same_verdict_from_worker_and_schema(cancel: Any, reason: Any, more: Any) -> None:
    check_verdict({**NAMES, "cancel": cancel, "reason": reason, **more})


@settings(max_examples=60, suppress_health_check=HEALTH)
@given(
    proceed=texts | st.none() | st.integers(),
    wave=numbers | st.none(),
    more=st.sampled_from(({}, {"reason": None}, {"dryRun": None}, {"schemaVersion": 2})),
)
def test_proceed_gets_the_same_verdict_from_worker_and_schema(proceed: Any, wave: Any, more: Any) -> None:
    check_verdict({**NAMES, "proceed": proceed, "wave": wave, **more})


VALID = {name: messages(dict(named(name).schema)) for name in (REQUEST, *BY_FIELD.values())}


@settings(max_examples=150, suppress_health_check=HEALTH)
@given(document=st.one_of(*VALID.values()))
def test_whatever_is_made_of_the_schemas_is_accepted_by_the_worker(document: dict[str, Any]) -> None:
    assert schema_accepts(document)
    assert worker_accepts(document) is not other_rule_broken(document)


@settings(max_examples=100, suppress_health_check=HEALTH)
@given(
    document=VALID[REQUEST],
    name=st.sampled_from([*named(REQUEST).schema["properties"], "instanceIDs"]),
    value=texts | numbers | ids | rollouts | times | durations,
)
def test_one_change_that_the_schema_does_not_accept_is_refused_by_the_worker(
    document: dict[str, Any], name: str, value: Any
) -> None:
    changed = {**document, name: value}
    assume(not schema_accepts(changed))
    assert not worker_accepts(changed)
