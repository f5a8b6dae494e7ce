"""The ways between entities: duplicates, topics, forwarding."""

from collections.abc import Mapping
from datetime import timedelta

import pytest

from sandbox.servicebus.amqp.codec import Long
from sandbox.servicebus.broker import events
from sandbox.servicebus.broker.duplicates import DuplicateHistory
from sandbox.servicebus.broker.errors import BrokerError
from tests.sandbox.servicebus.samples import Bench, message, one_queue, queue

WINDOW = {"RequiresDuplicateDetection": True, "DuplicateDetectionHistoryTimeWindow": "PT10M"}


# ------------------------------------------------------------------------------------------ duplicates


def test_a_duplicate_within_the_window_is_dropped_also_after_the_first_was_completed() -> None:
    bench = one_queue(**WINDOW)
    bench.send("q", message("a"), message("a"), message("b"))
    assert bench.waiting("q") == ["a", "b"]
    bench.advance(minutes=9)
    bench.send("q", message("a"))
    assert bench.waiting("q") == []
    assert isinstance(bench.published[-1], events.DuplicateDropped)
    assert bench.published[-1].message_id == "a"


def test_the_window_runs_from_the_first_sight_and_not_from_the_last() -> None:
    bench = one_queue(**WINDOW)
    for _ in range(4):
        bench.send("q", message("a"))
        bench.advance(minutes=3)
    assert bench.waiting("q") == ["a"]
    bench.send("q", message("a"))
    assert bench.waiting("q") == ["a"]


def test_a_scheduled_message_counts_from_when_it_was_sent() -> None:
    bench = one_queue(**WINDOW)
    assert bench.broker.schedule("q", message("a"), bench.after(minutes=5)) == 1
    bench.send("q", message("a"), message("a", due=bench.after(minutes=7)))
    bench.advance(minutes=9)
    assert bench.waiting("q") == ["a"]


def test_duplicate_that_is_scheduled_gets_a_number_that_no_message_has() -> None:
    bench = one_queue(**WINDOW)
    first = bench.broker.schedule("q", message("a"), bench.after(minutes=5))
    dropped = bench.broker.schedule("q", message("a"), bench.after(minutes=6))
    assert dropped > first
    assert [queued.sequence_number for queued in bench.broker.queue("q").peek(0, 10, bench.now)] == [first]
    with pytest.raises(BrokerError) as failed:
        bench.broker.queue("q").cancel(dropped, bench.now)
    assert failed.value.condition == "com.microsoft:message-not-found"
    bench.send("q", message("b"))
    assert bench.broker.queue("q").peek(dropped, 10, bench.now)[0].sequence_number > dropped
    bench.advance(minutes=6)
    assert bench.waiting("q") == ["b", "a"]


def test_cancelled_message_is_a_duplicate_still() -> None:
    bench = one_queue(**WINDOW)
    bench.broker.queue("q").cancel(bench.broker.schedule("q", message("a"), bench.after(hours=1)), bench.now)
    bench.send("q", message("a"))
    assert bench.waiting("q") == []


def test_each_entity_forgets_ids_after_its_own_window() -> None:
    longer = {"RequiresDuplicateDetection": True, "DuplicateDetectionHistoryTimeWindow": "P1D"}
    bench = Bench({"Queues": [queue("short", **WINDOW), queue("long", **longer), queue("none")]})
    names = ("short", "long", "none")

    def dropped() -> list[str]:
        seen = len(bench.published)
        for name in names:
            bench.send(name, message("a"))
        events_ = bench.published[seen:]
        return [event.entity for event in events_ if isinstance(event, events.DuplicateDropped)]

    assert dropped() == []
    bench.clock.advance(timedelta(minutes=9, seconds=59))  # the broker is not woken: the clock alone counts
    assert dropped() == ["short", "long"]
    bench.clock.advance(timedelta(seconds=1))
    assert dropped() == ["long"]
    bench.clock.advance(timedelta(days=1))
    assert dropped() == []
    assert dropped() == ["short", "long"]


def test_without_duplicate_detection_nothing_is_dropped() -> None:
    bench = one_queue()
    bench.send("q", message("a"), message("a"))
    assert bench.waiting("q") == ["a", "a"]


def test_messages_without_an_id_are_no_duplicates() -> None:
    bench = one_queue(**WINDOW)
    bench.send("q", message(), message())
    assert len(bench.waiting("q")) == 2


def test_the_history_forgets_what_is_outside_the_window() -> None:
    history = DuplicateHistory(1000)
    for number in range(50_000):
        assert not history.seen(str(number), number)
    assert len(history) <= 2000
    assert history.seen("49999", 50_000)
    assert not history.seen("48000", 50_000)


# --------------------------------------------------------------------------------------------- topics


def topic(*subscriptions: Mapping[str, object], **properties: object) -> dict[str, object]:
    return {"Name": "t", "Properties": properties, "Subscriptions": list(subscriptions)}


def sql(name: str, expression: str) -> dict[str, object]:
    return {"Name": name, "Properties": {"FilterType": "Sql", "SqlFilter": {"SqlExpression": expression}}}


def correlation(name: str, **conditions: object) -> dict[str, object]:
    return {"Name": name, "Properties": {"FilterType": "Correlation", "CorrelationFilter": conditions}}


def test_each_subscription_has_its_own_copy() -> None:
    bench = Bench({"Topics": [topic({"Name": "one"}, {"Name": "two"})]})
    bench.send("t", message("a"))
    bench.broker.queue("t/subscriptions/one").complete(bench.lock("T/Subscriptions/One"), bench.now)
    assert bench.ids("t/Subscriptions/one") == []
    assert bench.ids("t/Subscriptions/two") == ["a"]


def test_a_subscription_takes_once_what_any_of_its_rules_takes() -> None:
    rules = [correlation("c", Label="x", Properties={"k": 1}), sql("s", "color = 'red'")]
    bench = Bench({"Topics": [topic({"Name": "s", "Rules": rules})]})
    bench.send(
        "t",
        message("neither"),
        message("half", subject="x"),
        message("first", subject="x", properties={"k": "1"}),
        message("second", properties={"color": "red"}),
    )
    assert bench.waiting("t/Subscriptions/s") == ["second"]
    bench.send("t", message("both", subject="x", properties={"k": Long(1), "color": "red"}))
    assert bench.waiting("t/Subscriptions/s") == ["both"]


def test_a_topic_detects_duplicates_and_schedules() -> None:
    bench = Bench({"Topics": [topic({"Name": "s"}, **WINDOW)]})
    bench.send("t", message("a", due=bench.after(minutes=1)), message("a"), message("b"))
    assert bench.waiting("t/Subscriptions/s") == ["b"]
    assert bench.broker.next_wakeup() == bench.after(minutes=1)
    bench.advance(minutes=1)
    assert bench.waiting("t/Subscriptions/s") == ["a"]


def test_a_topics_time_to_live_holds_in_its_subscriptions() -> None:
    bench = Bench({"Topics": [topic({"Name": "s"}, DefaultMessageTimeToLive="PT1M")]})
    bench.send("t", message("a"))
    bench.advance(minutes=1)
    assert bench.ids("t/Subscriptions/s") == []


def test_a_subscription_has_a_dead_letter_queue() -> None:
    bench = Bench({"Topics": [topic({"Name": "s"})]})
    bench.send("t", message("a"))
    path = "t/Subscriptions/s"
    bench.broker.queue(path).dead_letter(bench.lock(path), "why", None, {}, bench.now)
    assert bench.ids(f"{path}/$DeadLetterQueue") == ["a"]


# ------------------------------------------------------------------------------------------ forwarding


def test_forwarding_goes_all_the_way_and_starts_with_a_new_number() -> None:
    subscription = {"Name": "s", "Properties": {"ForwardTo": "middle"}}
    bench = Bench({"Queues": [queue("middle", ForwardTo="end"), queue("end")], "Topics": [topic(subscription)]})
    bench.send("end", message("first"))
    bench.send("t", message("a"))
    assert bench.ids("t/Subscriptions/s") == bench.ids("middle") == []
    assert bench.ids("end") == ["first", "a"]


def test_what_is_scheduled_is_forwarded_when_it_is_due() -> None:
    bench = Bench({"Queues": [queue("start", ForwardTo="end"), queue("end")]})
    bench.send("start", message("a", due=bench.after(minutes=1)))
    assert bench.ids("start") == ["a"]
    bench.advance(minutes=1)
    assert bench.ids("start") == []
    assert bench.ids("end") == ["a"]


def test_dead_letters_can_be_forwarded_and_say_where_from() -> None:
    bench = Bench({"Queues": [queue("q", ForwardDeadLetteredMessagesTo="dead"), queue("dead")]})
    bench.send("q", message("a"))
    bench.broker.queue("q").dead_letter(bench.lock("q"), "why", None, {}, bench.now)
    assert bench.ids("q/$DeadLetterQueue") == []
    queued = bench.receive("dead")
    assert queued is not None
    assert queued.message.annotations == {"x-opt-deadletter-source": "q"}
    assert queued.message.user_properties() == {"DeadLetterReason": "why"}


# ------------------------------------------------------------------------------------------- entities


@pytest.mark.parametrize(
    ("path", "condition"),
    [
        ("nix", "amqp:not-found"),
        ("t/Subscriptions/s", "amqp:not-allowed"),
        ("q/$DeadLetterQueue", "amqp:not-allowed"),
    ],
)
def test_what_cannot_be_sent_to(path: str, condition: str) -> None:
    bench = Bench({"Queues": [queue()], "Topics": [topic({"Name": "s"})]})
    with pytest.raises(BrokerError) as caught:
        bench.send(path, message())
    assert caught.value.condition == condition


@pytest.mark.parametrize(
    ("path", "condition"),
    [("nix", "amqp:not-found"), ("t", "amqp:not-allowed"), ("t/Subscriptions/x", "amqp:not-found")],
)
def test_what_cannot_be_received_from(path: str, condition: str) -> None:
    bench = Bench({"Topics": [topic({"Name": "s"})]})
    with pytest.raises(BrokerError) as caught:
        bench.receive(path)
    assert caught.value.condition == condition


def test_the_next_wakeup_is_the_earliest_of_all_entities() -> None:
    bench = Bench({"Queues": [queue("one", LockDuration="PT3M"), queue("two")]})
    assert bench.broker.next_wakeup() is None
    bench.send("one", message("a"))
    bench.lock("one")
    bench.send("two", message("b", ttl=timedelta(minutes=4)), message("c", due=bench.after(minutes=2)))
    assert bench.broker.next_wakeup() == bench.after(minutes=2)
    bench.advance(minutes=2)
    assert bench.broker.next_wakeup() == bench.after(minutes=1)
    bench.advance(minutes=1)
    assert bench.broker.next_wakeup() == bench.after(minutes=1)
    bench.advance(minutes=1)
    assert bench.broker.next_wakeup() is None
