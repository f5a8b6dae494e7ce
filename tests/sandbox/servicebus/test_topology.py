"""The emulator's format: what is read, and that every problem is named at once."""

import json
from pathlib import Path

import pytest

from sandbox.servicebus import Topology, TopologyError
from sandbox.servicebus.topology.filters import TrueFilter


def document(**entities: object) -> dict[str, object]:
    return {"UserConfig": {"Namespaces": [{"Name": "test", **entities}]}}


def problems(**entities: object) -> tuple[str, ...]:
    with pytest.raises(TopologyError) as caught:
        Topology.parse(document(**entities))
    for problem in caught.value.problems:
        assert problem in str(caught.value)
    return caught.value.problems


def test_the_projects_own_topology_is_read() -> None:
    topology = Topology.read(Path("infra/topology.json"))
    queues = {queue.name: queue.settings for queue in topology.queues}
    assert queues.keys() >= {"maintenance-requests", "maintenance-operations"}
    requests = queues["maintenance-requests"]
    assert requests.lock_duration == 300_000
    # With it, one sender's message id would swallow another's message in silence.
    assert requests.duplicate_window is None
    for name in ("maintenance-operations", "maintenance-coordination"):
        assert queues[name].duplicate_window == 86_400_000
    for name in ("maintenance-requests", "maintenance-operations"):
        assert queues[name].time_to_live is None
    assert requests.dead_letter_expired
    (topic,) = topology.topics
    assert topic.name == "maintenance-events"
    assert [subscription.name for subscription in topic.subscriptions] == ["all-events", "maintenance-audit"]
    for subscription in topic.subscriptions:
        assert [rule.filter for rule in subscription.rules] == [TrueFilter()]  # no rules: everything


def test_what_is_left_out_has_azures_defaults() -> None:
    (queue,) = Topology.parse(document(Queues=[{"Name": "q"}])).queues
    assert queue.settings.lock_duration == 60_000
    assert queue.settings.max_delivery_count == 10
    assert queue.settings.time_to_live is None
    assert queue.settings.duplicate_window is None


@pytest.mark.parametrize(
    ("duration", "milliseconds"),
    [("PT0.5S", 500), ("PT1H30M", 5_400_000), ("P1DT1S", 86_401_000), ("P1W", 604_800_000)],
)
def test_any_iso_8601_duration_is_taken(duration: str, milliseconds: int) -> None:
    (queue,) = Topology.parse(document(Queues=[{"Name": "q", "Properties": {"LockDuration": duration}}])).queues
    assert queue.settings.lock_duration == milliseconds


def test_the_projects_own_topology_works_with_values_as_azure_writes_them() -> None:
    text = Path("infra/topology.json").read_text(encoding="utf-8")
    assert '"P30D"' in text
    document = json.loads(text.replace('"P30D"', '"P10675199DT2H48M5.4775807S"'))
    for entry in document["UserConfig"]["Namespaces"][0]["Queues"]:
        del entry["Properties"]["RequiresDuplicateDetection"]
    topology = Topology.parse(document)
    assert {queue.settings.duplicate_window for queue in topology.queues} == {None}
    requests = next(queue for queue in topology.queues if queue.name == "maintenance-requests")
    assert (requests.settings.time_to_live, requests.settings.dead_letter_expired) == (None, True)
    assert topology.topics[0].time_to_live is None


def test_azures_longest_time_to_live_means_for_ever() -> None:
    entry = {"Name": "q", "Properties": {"DefaultMessageTimeToLive": "P10675199DT2H48M5.4775807S"}}
    (queue,) = Topology.parse(document(Queues=[entry])).queues
    assert queue.settings.time_to_live is None


def test_all_problems_of_the_shape_are_named_at_once() -> None:
    found = problems(
        Queues=[
            {"Name": "q", "Properties": {"LockDuration": "soon", "MaxDeliveryCount": 0}},
            {"Name": "a b"},
            {"Properties": {"LockDuraton": "PT1M"}},
            {"Name": "z", "Properties": {"LockDuration": "PT0S"}},
        ]
    )
    named = "\n".join(found)
    for place in (
        "0.Properties.LockDuration",
        "0.Properties.MaxDeliveryCount",
        "1.Name",
        "2.Name",
        "2.Properties.LockDuraton",
        "3.Properties",
    ):
        assert f"Queues.{place}" in named


def test_all_disagreements_are_named_at_once() -> None:
    sql = {"FilterType": "Sql", "SqlFilter": {"SqlExpression": "a ="}, "Action": {"SqlExpression": "SET a = 1"}}
    found = problems(
        Queues=[
            {"Name": "q", "Properties": {"RequiresSession": True, "ForwardTo": "nix"}},
            {"Name": "Q", "Properties": {"ForwardDeadLetteredMessagesTo": "nix"}},
            {"Name": "one", "Properties": {"ForwardTo": "two"}},
            {"Name": "two", "Properties": {"ForwardTo": "one"}},
        ],
        Topics=[
            {
                "Name": "t",
                "Subscriptions": [
                    {"Name": "s", "Rules": [{"Name": "r", "Properties": sql}]},
                    {"Name": "S", "Rules": [{"Name": "r", "Properties": {"FilterType": "Correlation"}}]},
                ],
            }
        ],
    )
    expected = [
        "q: RequiresSession",
        "t/Subscriptions/s: rule 'r': actions",
        "t/Subscriptions/s: rule 'r': 'a ='",
        "t/Subscriptions/S: rule 'r': FilterType Correlation",
        "entity 'Q'",
        "t: subscription 'S'",
        "q: ForwardTo names 'nix'",
        "Q: ForwardDeadLetteredMessagesTo names 'nix'",
        "one: ForwardTo leads back",
        "two: ForwardTo leads back",
    ]
    for problem in expected:
        assert any(line.startswith(problem) for line in found), (problem, found)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(TopologyError, match=r"nowhere\.json: No such file"):
        Topology.read(tmp_path / "nowhere.json")
    broken = tmp_path / "broken.json"
    for content in ("{", "[]", json.dumps({"UserConfig": {}})):
        broken.write_text(content)
        with pytest.raises(TopologyError):
            Topology.read(broken)
