"""Messages that alerts and discoveries lead to: their ids, their bodies, and what is read back."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta

import pytest

from maintenance.alerts.messages import (
    Discovery,
    batch,
    first_id_of,
    maintenance_request,
    messages,
    read_discovery,
    to_discovery_record,
)
from maintenance.alerts.rules import AlertRules, Decision, Search, Target
from maintenance.domain.errors import InvalidRequest
from maintenance.domain.message_ids import REQUEST_ID
from maintenance.domain.messages import Envelope
from maintenance.domain.resources import ScaleSet
from maintenance.requests.schema import read_request
from tests.support.samples import NOW, SUBSCRIPTION

ORIGIN = "0123456789abcdef0123"
WEB, API = (ScaleSet(SUBSCRIPTION, "shop", name) for name in ("web", "api"))
DISCOVERY = Discovery(subscription_id=SUBSCRIPTION, origin=ORIGIN, reason="planned", first_id="0" * 32, begun=NOW)
RULES = AlertRules()
DRY = AlertRules(dry_run=True)


def test_request_is_one_that_the_handler_reads() -> None:
    record = maintenance_request(Target(WEB, ("0", "5")), ORIGIN, "planned", RULES)
    request = read_request(Envelope(body=b""), json.loads(record.body))
    assert (record.subject, record.due, record.message_id) == ("request", None, request.request_id)
    assert (request.scale_set, request.instance_ids, request.reason) == (WEB, ("0", "5"), "planned")
    assert request.rollout.max_instances_per_wave == "20%"
    assert REQUEST_ID.fullmatch(request.request_id)


def test_request_has_one_id_for_each_origin_and_scale_set_whatever_its_letter_case() -> None:
    upper = ScaleSet(SUBSCRIPTION, "SHOP", "WEB")
    ids = {
        maintenance_request(Target(scale_set), origin, "", RULES).message_id
        for scale_set in (WEB, upper, API)
        for origin in (ORIGIN, "f" * 20)
    }
    assert len(ids) == 4


def test_dry_run_has_ids_of_its_own_that_say_so() -> None:
    for real, dry in (
        (maintenance_request(Target(WEB), ORIGIN, "", RULES), maintenance_request(Target(WEB), ORIGIN, "", DRY)),
        (to_discovery_record(DISCOVERY, RULES), to_discovery_record(DISCOVERY, DRY)),
        (batch(DISCOVERY, [WEB], RULES), batch(DISCOVERY, [WEB], DRY)),
    ):
        assert dry.message_id == f"{real.message_id}-dry"
        assert real.body == dry.body or json.loads(dry.body)["dryRun"] is True


def test_batches_have_different_ids_where_their_bodies_differ() -> None:
    records = [
        batch(DISCOVERY, [WEB], RULES),
        batch(DISCOVERY, [API], RULES),
        batch(DISCOVERY, [WEB, API], RULES),
        batch(replace(DISCOVERY, attempt=1), [WEB], RULES),
        batch(replace(DISCOVERY, begun=NOW + timedelta(days=1)), [WEB], RULES),
        batch(replace(DISCOVERY, reason="updated"), [WEB], RULES),
        to_discovery_record(DISCOVERY, RULES),
    ]
    assert len({record.message_id for record in records}) == len({record.body for record in records}) == len(records)
    assert batch(DISCOVERY, [WEB], RULES) == batch(DISCOVERY, [WEB], RULES)


def test_discovery_of_an_alert_has_the_id_by_which_its_parts_are_known() -> None:
    first = replace(DISCOVERY, begun=None)
    known_as = first_id_of(first, RULES)
    assert to_discovery_record(first, RULES).message_id == known_as
    for part in (DISCOVERY, replace(DISCOVERY, attempt=2), replace(DISCOVERY, scale_sets=(WEB,))):
        assert first_id_of(part, RULES) == known_as
        assert to_discovery_record(part, RULES).message_id != known_as


def test_batch_names_its_scale_sets_and_lists_nothing() -> None:
    part = read_discovery(json.loads(batch(replace(DISCOVERY, regions=("westeurope",)), [WEB, API], RULES).body))
    assert (part.regions, part.scale_sets, part.first_id, part.begun) == (None, (WEB, API), "0" * 32, NOW)


@pytest.mark.parametrize(
    "discovery",
    [
        DISCOVERY,
        Discovery(subscription_id=SUBSCRIPTION, origin=ORIGIN),
        replace(DISCOVERY, regions=("westeurope", "eastus2"), attempt=3, reason="ä"),
        replace(DISCOVERY, scale_sets=(WEB,)),
    ],
)
def test_discovery_is_read_as_it_was_written(discovery: Discovery) -> None:
    record = to_discovery_record(discovery, RULES, NOW)
    assert read_discovery(json.loads(record.body)) == discovery
    assert (record.subject, record.due) == ("discovery", NOW)


@pytest.mark.parametrize(
    "change", [{"attempt": -1}, {"attempt": "1"}, {"begun": "yesterday"}, {"firstId": "x"}, {"dryRun": True}]
)
def test_discovery_is_read_strictly(change: dict[str, object]) -> None:
    document = json.loads(DISCOVERY.to_json())
    document["discover"].update(change)
    with pytest.raises(InvalidRequest):
        read_discovery(document)


def test_same_alert_makes_the_same_discovery_and_its_update_another_of_the_same_origin() -> None:
    search = Search(SUBSCRIPTION, ("westeurope",))
    first, again, updated = (
        messages(Decision(reason=reason, origin=ORIGIN, searches=(search,)), alert, RULES)
        for alert, reason in (("alert", "r"), ("alert", "r"), ("update", "r"))
    )
    assert first == again
    assert first[0].message_id != updated[0].message_id
    assert {read_discovery(json.loads(each[0].body)).origin for each in (first, updated)} == {ORIGIN}


def test_decision_for_nothing_makes_no_message() -> None:
    assert messages(Decision(reason="resolved"), "alert", RULES) == []


def test_long_reason_is_cut_to_what_a_request_may_hold() -> None:
    record = maintenance_request(Target(WEB), ORIGIN, "x" * 5_000, RULES)
    assert len(read_request(Envelope(body=b""), json.loads(record.body)).reason or "") == 1_000
