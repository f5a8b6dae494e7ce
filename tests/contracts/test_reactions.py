"""Examples that react to events where no code of this project runs: a Logic App, and an alert rule."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from azure.servicebus import ServiceBusMessage
from azure.servicebus.aio import ServiceBusClient

from contracts.event_models import EVENTS
from sandbox.resource_manager import (
    EXAMPLE_RESOURCE_GROUP,
    EXAMPLE_SUBSCRIPTION_ID,
    InstanceSeed,
    ScaleSetSeed,
)
from sandbox.servicebus import ServiceBus, Topology
from tests.contracts.logic_app import Expressions
from tests.infra import bicep, resource_types
from tests.support.entities import TOPIC
from tests.support.environment import request
from tests.support.received import Event
from tests.support.running import Running

pytestmark = pytest.mark.asyncio(loop_scope="module")

EXAMPLES = Path(__file__).parents[2] / "examples"
WORKFLOW: dict[str, Any] = json.loads((EXAMPLES / "logic-app" / "workflow.json").read_text())["definition"]
ALERT_RULE = (EXAMPLES / "alert-rule" / "failed-maintenance.bicep").read_text()
URL = "https://example.com/teams"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def events(shared_job: Running) -> dict[str, Event]:
    """The ends of a request that succeeds, one that fails and one that is refused, by their status."""
    failing = (InstanceSeed("0", outcome="Failed"),)
    seed = ScaleSetSeed(EXAMPLE_SUBSCRIPTION_ID, EXAMPLE_RESOURCE_GROUP, "failing", instances=failing)
    shared_job.environment.arm.seed(seed)
    good = await shared_job.send(request(instanceIds=["0"], reason="kernel update"))
    failed = await shared_job.send(request("failing", instanceIds=["0"]))
    bad = await shared_job.send(request(instanceIDs=["0"]))
    ended = await shared_job.finish(good, failed, bad)
    return {event.status: event for event in ended.values()}


def posted(event: Event) -> dict[str, Any]:
    """The body that the workflow posts to Teams."""
    message = {"ContentData": base64.b64encode(json.dumps(event.document).encode()).decode(), "LockToken": "token"}
    actions = WORKFLOW["actions"]
    composed = Expressions({"triggerBody()": message}).filled(actions["Event"]["inputs"])
    sources = {"outputs('Event')": composed, "parameters('teamsUrl')": URL}
    inputs = Expressions(sources).filled(actions["Post_to_Teams"]["inputs"])
    assert (inputs["method"], inputs["uri"]) == ("POST", URL)
    body: dict[str, Any] = inputs["body"]
    return body


async def test_logic_app_posts_a_card_with_the_end_of_a_request(events: dict[str, Event]) -> None:
    event = events["Succeeded"]
    body = posted(event)
    (attachment,) = body["attachments"]
    assert (body["type"], attachment["contentType"]) == ("message", "application/vnd.microsoft.card.adaptive")
    title, error, facts = attachment["content"]["body"]
    assert title["text"] == "Maintenance of web: Succeeded"
    assert error["text"] == ""
    assert {each["title"]: each["value"] for each in facts["facts"]} == {
        "Request": event.data["requestId"],
        "Scale set": event.data["resourceId"],
        "Reason": "kernel update",
        "Instances": "1",
        "End": event.data["end"],
    }


async def test_logic_app_posts_the_error_of_a_request_that_failed(events: dict[str, Event]) -> None:
    title, error, _ = posted(events["Failed"])["attachments"][0]["content"]["body"]
    assert title["text"] == "Maintenance of failing: Failed"
    assert error["text"] == events["Failed"].data["error"]["message"] != ""


async def test_logic_app_completes_a_message_only_after_it_was_posted() -> None:
    actions = WORKFLOW["actions"]
    (trigger,) = WORKFLOW["triggers"].values()
    complete = actions["Complete_the_message"]
    assert complete["runAfter"] == {"Post_to_Teams": ["Succeeded"]}
    assert actions["Post_to_Teams"]["runAfter"] == {"Event": ["Succeeded"]}
    assert trigger["inputs"]["path"].replace("/head/peek", "/complete") == complete["inputs"]["path"]
    assert f"'{TOPIC}'" in trigger["inputs"]["path"]
    # Whoever has the URL may post, so it stands neither here nor in the history of runs.
    assert WORKFLOW["parameters"]["teamsUrl"]["type"] == "SecureString"
    assert "defaultValue" not in WORKFLOW["parameters"]["teamsUrl"]
    assert actions["Post_to_Teams"]["runtimeConfiguration"]["secureData"]["properties"] == ["inputs"]


async def test_each_field_that_the_logic_app_reads_is_in_the_contract() -> None:
    read = set(re.findall(r"\['data'\]\?\['(\w+)'\]", json.dumps(WORKFLOW["actions"])))
    fields = EVENTS["completed"].model_json_schema(by_alias=True)["properties"]
    assert read >= {"status", "requestId"}
    assert read <= fields.keys()


async def test_alert_rule_is_valid_bicep_with_known_properties() -> None:
    assert bicep.syntax_problems(ALERT_RULE) == []
    assert resource_types.property_problems(ALERT_RULE) == []


async def test_filter_of_the_alert_rule_forwards_only_what_did_not_succeed(
    events: dict[str, Event],
) -> None:
    (expression,) = re.findall(r"sqlExpression: '(.*)'$", ALERT_RULE, re.MULTILINE)
    sql = {"FilterType": "Sql", "SqlFilter": {"SqlExpression": expression.replace("\\'", "'")}}
    subscription = {
        "Name": "failed-maintenance",
        "Properties": {"ForwardTo": "failed-maintenance"},
        "Rules": [{"Name": "$Default", "Properties": sql}],
    }
    namespace = {
        "Name": "other",
        "Queues": [{"Name": "failed-maintenance", "Properties": {}}],
        "Topics": [{"Name": TOPIC, "Properties": {}, "Subscriptions": [subscription]}],
    }
    topology = Topology.parse({"UserConfig": {"Namespaces": [namespace], "Logging": {}}})
    with ServiceBus(topology) as bus:
        async with (
            ServiceBusClient.from_connection_string(bus.connection_string) as client,
            client.get_topic_sender(TOPIC) as sender,
        ):
            for status, event in events.items():
                properties: dict[str | bytes, Any] = dict(event.properties.items())
                await sender.send_messages(
                    ServiceBusMessage(b"{}", message_id=status, application_properties=properties)
                )
        assert sorted(each.message_id for each in bus.peek("failed-maintenance")) == ["Failed", "Rejected"]
