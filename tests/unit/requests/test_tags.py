"""The texts of tags: each is read as the field of a request, and what cannot be read keeps maintenance away."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta

import pytest

from maintenance.domain.calendars import Gate, Window
from maintenance.domain.errors import PolicyViolation
from maintenance.domain.instances import NO_TAGS, Tags
from maintenance.domain.messages import Delivery
from maintenance.operations.records import read_record, read_reply
from maintenance.policies.tags import EXCLUDED, UNTAGGED, TagRollout, to_properties
from maintenance.requests.schema import read_request
from maintenance.requests.tags import narrow, read_tag_policy
from tests.support.samples import NOW, envelope, request_body
from tests.support.unit_environment import UnitEnvironment

WINDOWS = '[{"schedule": "0 22 * * sat", "duration": "PT6H", "timeZone": "Europe/Berlin"}]'
WINDOW = Window("0 22 * * SAT", timedelta(hours=6), "Europe/Berlin")


@pytest.mark.parametrize("text", ["true", " True ", "1", "yes", "ON"])
def test_scale_set_is_excluded_by_its_tag(text: str) -> None:
    assert read_tag_policy(Tags(exclude=text)).problems == (EXCLUDED,)


@pytest.mark.parametrize("text", ["false", "0", "No", " off"])
def test_scale_set_is_not_excluded_by_a_tag_that_says_no(text: str) -> None:
    assert read_tag_policy(Tags(exclude=text)) == read_tag_policy(NO_TAGS) == UNTAGGED


def test_tags_are_read_as_the_fields_of_a_request() -> None:
    rollout = {"maxInstancesPerWave": "20%", "gate": "first", "gateTimeout": "PT30M", "maxFailedInstances": 0}
    policy = read_tag_policy(Tags(windows=WINDOWS, rollout=json.dumps(rollout)))
    assert policy.windows == (WINDOW,)
    assert policy.rollout == TagRollout(
        max_instances_per_wave="20%", max_failed_instances=0, gate=Gate("first", timedelta(minutes=30))
    )


def test_what_a_tag_leaves_out_is_left_to_the_request() -> None:
    request = read_request(envelope({}), request_body(rollout={"maxFailedInstances": 3, "healthTimeout": "PT1H"}))
    narrow_request = narrow(request, read_tag_policy(Tags(rollout='{"byUpdateDomain": true}')))
    assert narrow_request.rollout == replace(request.rollout, by_update_domain=True)
    assert narrow(request, UNTAGGED) == request


@pytest.mark.parametrize(
    ("tags", "tag"),
    [
        (Tags(exclude=""), "exclude"),
        (Tags(exclude="please"), "exclude"),
        (Tags(windows=""), "windows"),
        (Tags(windows="[]"), "windows"),
        (Tags(windows="Saturdays"), "windows"),
        (Tags(windows='[{"schedule": "0 22 * * SAT"}]'), "windows"),
        (Tags(windows=WINDOWS.replace("Berlin", "Bonn")), "windows"),
        (Tags(rollout="1"), "rollout"),
        (Tags(rollout='{"maxInstancesPerWave": 0}'), "rollout"),
        (Tags(rollout='{"maxInstances": 1}'), "rollout"),
        (Tags(rollout='{"gateTimeout": "PT1H"}'), "rollout"),
    ],
)
def test_tag_that_cannot_be_read_lets_nothing_start(tags: Tags, tag: str) -> None:
    problems = read_tag_policy(tags).problems
    assert {problem.field for problem in problems} == {f"tag maintenance-{tag}"}
    assert EXCLUDED not in problems
    with pytest.raises(PolicyViolation, match=f"tag maintenance-{tag}"):
        narrow(read_request(envelope({}), request_body()), read_tag_policy(tags))


def test_every_problem_of_the_tags_is_told() -> None:
    problems = read_tag_policy(Tags(exclude="maybe", windows="x", rollout="y")).problems
    assert [problem.field.removeprefix("tag maintenance-") for problem in problems] == ["exclude", "windows", "rollout"]


async def test_request_of_an_alert_is_narrowed_by_the_tags_that_came_with_it() -> None:
    tags = Tags(windows=WINDOWS, rollout='{"maxInstancesPerWave": 1}')
    delivery = Delivery(
        body=json.dumps(request_body()).encode(), sequence_number=1, enqueued_at=NOW, properties=to_properties(tags)
    )
    environment = UnitEnvironment()
    await environment.handler.handle_delivery(delivery)
    (message,) = environment.bus.operations_queue.messages
    operation = read_record(message.body)
    assert operation.tag_windows == (WINDOW,)
    assert operation.rollout.max_instances_per_wave == 1
    # The time that it has by default begins with the opening.
    assert operation.deadline > NOW + timedelta(hours=6)


async def test_request_of_an_alert_with_tags_that_cannot_be_read_is_rejected() -> None:
    properties = to_properties(Tags(rollout="fast"))
    delivery = Delivery(body=json.dumps(request_body()).encode(), sequence_number=1, properties=properties)
    environment = UnitEnvironment()
    await environment.handler.handle_delivery(delivery)
    (message,) = environment.bus.operations_queue.messages
    assert [field for field, _, _ in read_reply(message.body).problems] == ["tag maintenance-rollout"]
