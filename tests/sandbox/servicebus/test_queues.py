"""Peek-lock, failed deliveries, schedules, expiry and the rest, by a clock moved by hand."""

from contextlib import AbstractContextManager
from datetime import timedelta
from uuid import uuid4

import pytest

from sandbox.servicebus.broker import events
from sandbox.servicebus.broker.errors import BrokerError
from sandbox.servicebus.broker.storage import State
from tests.sandbox.servicebus.samples import Bench, message, one_queue

MINUTE = {"LockDuration": "PT1M"}
DEAD = "q/$DeadLetterQueue"


def fails_with(condition: str) -> AbstractContextManager[object]:
    return pytest.raises(BrokerError, check=lambda error: error.condition == condition)


LOCK_LOST = "com.microsoft:message-lock-lost"
NOT_FOUND = "com.microsoft:message-not-found"


# ------------------------------------------------------------------------------------------------ locks


def test_messages_come_in_order_and_a_locked_one_only_once() -> None:
    bench = one_queue()
    bench.send("q", message("a"), message("b"))
    first, second = bench.receive("q"), bench.receive("q")
    assert first is not None
    assert second is not None
    assert (first.message.message_id, second.message.message_id) == ("a", "b")
    assert (first.sequence_number, second.sequence_number) == (1, 2)
    assert first.lock_token != second.lock_token
    assert bench.receive("q") is None


def test_a_completed_message_is_gone() -> None:
    bench = one_queue(**MINUTE)
    bench.send("q", message("a"))
    token = bench.lock("q")
    bench.broker.queue("q").complete(token, bench.now)
    assert bench.ids("q") == []
    bench.advance(minutes=2)
    assert bench.ids("q") == []
    with fails_with(LOCK_LOST):
        bench.broker.queue("q").complete(token, bench.now)


def test_a_lock_runs_out_to_the_millisecond_and_counts_as_a_failed_delivery() -> None:
    bench = one_queue(**MINUTE)
    bench.send("q", message("a"))
    token = bench.lock("q")
    assert bench.broker.next_wakeup() == bench.after(minutes=1)
    bench.advance(milliseconds=59_999)
    assert bench.receive("q") is None
    bench.advance(milliseconds=1)
    queued = bench.receive("q")
    assert queued is not None
    assert queued.delivery_count == 1
    with fails_with(LOCK_LOST):
        bench.broker.queue("q").complete(token, bench.now)
    assert [type(event) for event in bench.published][2:3] == [events.LockLost]


def test_a_lock_that_ran_out_is_lost_even_before_the_timer_has_fired() -> None:
    bench = one_queue(**MINUTE)
    bench.send("q", message("a"))
    token = bench.lock("q")
    bench.clock.advance(timedelta(minutes=1))  # without the broker being woken
    with fails_with(LOCK_LOST):
        bench.broker.queue("q").complete(token, bench.now)


def test_a_renewed_lock_lasts_from_the_renewal() -> None:
    bench = one_queue(**MINUTE)
    bench.send("q", message("a"), message("b"))
    renewed, other = bench.lock("q"), bench.lock("q")
    bench.advance(seconds=40)
    assert bench.broker.queue("q").renew(renewed, bench.now) == bench.after(minutes=1)
    bench.advance(seconds=40)
    with fails_with(LOCK_LOST):  # though it stood behind the renewed one
        bench.broker.queue("q").renew(other, bench.now)
    bench.broker.queue("q").complete(renewed, bench.now)


def test_a_released_message_comes_back_without_a_failed_delivery() -> None:
    bench = one_queue()
    bench.send("q", message("a"))
    bench.broker.queue("q").release(bench.lock("q"), bench.now)
    queued = bench.receive("q")
    assert queued is not None
    assert queued.delivery_count == 0


def test_an_abandoned_message_comes_back_in_its_old_place_changed() -> None:
    bench = one_queue()
    bench.send("q", message("a", properties={"kept": "1", "old": "1"}), message("b"))
    bench.broker.queue("q").abandon(bench.lock("q"), {"old": "2", "new": "3"}, bench.now)
    queued = bench.receive("q")
    assert queued is not None
    assert queued.message.message_id == "a"
    assert queued.delivery_count == 1
    assert queued.message.user_properties() == {"kept": "1", "old": "2", "new": "3"}


def test_locks_can_be_lost_on_order() -> None:
    bench = one_queue()
    bench.send("q", message("a"), message("b"))
    token = bench.lock("q")
    assert bench.broker.queue("q").lose_locks(bench.now) == 1
    with fails_with(LOCK_LOST):
        bench.broker.queue("q").complete(token, bench.now)
    assert bench.waiting("q") == ["a", "b"]


@pytest.mark.parametrize("counted", [True, False])
def test_lost_lock_counts_as_a_failed_delivery_only_if_asked_for(counted: bool) -> None:
    bench = one_queue(MaxDeliveryCount=2)
    bench.send("q", message("a"), message("b"))
    first, second = bench.lock("q"), bench.lock("q")
    assert bench.broker.queue("q").lose_locks(bench.now, counted=counted, message_id="a") == 1
    with fails_with(LOCK_LOST):
        bench.broker.queue("q").complete(first, bench.now)
    queued = bench.receive("q")
    assert queued is not None
    assert (queued.message.message_id, queued.delivery_count) == ("a", 1 if counted else 0)
    bench.broker.queue("q").complete(second, bench.now)  # the other one's lock is as it was
    for _ in range(5):
        bench.broker.queue("q").lose_locks(bench.now, counted=counted)
        if not counted:
            bench.lock("q")
    assert bench.ids(DEAD) == (["a"] if counted else [])


def test_lost_lock_of_an_expired_message_is_its_end() -> None:
    bench = one_queue()
    bench.send("q", message("a", ttl=timedelta(seconds=10)))
    bench.lock("q")
    bench.clock.advance(timedelta(seconds=10))
    assert bench.broker.queue("q").lose_locks(bench.now, counted=False) == 1
    assert bench.ids("q") == []


def test_receive_and_delete_leaves_nothing() -> None:
    bench = one_queue()
    bench.send("q", message("a"))
    assert bench.waiting("q") == ["a"]
    assert bench.ids("q") == []


# ------------------------------------------------------------------------------------------ dead letters


@pytest.mark.parametrize("how", ["abandon", "expiry"])
def test_the_last_failed_delivery_dead_letters(how: str) -> None:
    bench = one_queue(MaxDeliveryCount=3, **MINUTE)
    bench.send("q", message("a"))
    for failed in range(3):
        queued = bench.receive("q")
        assert queued is not None
        assert queued.lock_token is not None
        assert queued.delivery_count == failed
        if how == "abandon":
            bench.broker.queue("q").abandon(queued.lock_token, {}, bench.now)
        else:
            bench.advance(minutes=1)
    assert bench.receive("q") is None
    dead = bench.receive(DEAD)
    assert dead is not None
    assert dead.message.user_properties()["DeadLetterReason"] == "MaxDeliveryCountExceeded"


def test_dead_lettering_says_why_and_keeps_the_number() -> None:
    bench = one_queue()
    bench.send("q", message("a"), message("b", properties={"k": "v"}))
    sent = bench.now
    bench.advance(seconds=30)
    bench.lock("q")
    bench.broker.queue("q").dead_letter(bench.lock("q"), "why", "because", {}, bench.now)
    dead = bench.receive(DEAD)
    assert dead is not None
    assert (dead.sequence_number, dead.enqueued_at) == (2, sent)
    assert dead.message.user_properties() == {
        "k": "v",
        "DeadLetterReason": "why",
        "DeadLetterErrorDescription": "because",
    }
    last = bench.published[-2]
    assert isinstance(last, events.MessageDeadLettered)
    assert (last.entity, last.message_id, last.reason) == ("q", "b", "why")


def test_dead_letters_neither_expire_nor_run_out_of_deliveries() -> None:
    bench = one_queue(MaxDeliveryCount=1, DefaultMessageTimeToLive="PT1H", **MINUTE)
    bench.send("q", message("a"))
    bench.broker.queue("q").abandon(bench.lock("q"), {}, bench.now)
    for _ in range(20):
        bench.broker.queue(DEAD).abandon(bench.lock(DEAD), {}, bench.now)
    bench.advance(days=100)
    assert bench.ids(DEAD) == ["a"]
    with fails_with("amqp:not-allowed"):
        bench.broker.queue(DEAD).dead_letter(bench.lock(DEAD), None, None, {}, bench.now)


# ------------------------------------------------------------------------------------------ deferring


def test_a_deferred_message_is_received_by_its_number_only() -> None:
    bench = one_queue(**MINUTE)
    bench.send("q", message("a"))
    bench.broker.queue("q").defer(bench.lock("q"), {}, bench.now)
    assert bench.receive("q") is None
    bench.advance(minutes=5)
    assert bench.receive("q") is None
    (queued,) = bench.broker.queue("q").take_deferred([1], bench.now, locking=True)
    with fails_with(NOT_FOUND):  # locked
        bench.broker.queue("q").take_deferred([1], bench.now, locking=True)
    bench.advance(minutes=1)
    assert queued.delivery_count == 1
    (again,) = bench.broker.queue("q").take_deferred([1], bench.now, locking=True)
    assert again.state is State.DEFERRED
    assert again.lock_token is not None
    bench.broker.queue("q").complete(again.lock_token, bench.now)
    assert bench.ids("q") == []


def test_unless_all_deferred_messages_are_there_none_is_locked() -> None:
    bench = one_queue()
    bench.send("q", message("a"))
    bench.broker.queue("q").defer(bench.lock("q"), {}, bench.now)
    with fails_with(NOT_FOUND):
        bench.broker.queue("q").take_deferred([1, 2], bench.now, locking=True)
    assert len(bench.broker.queue("q").take_deferred([1], bench.now, locking=True)) == 1


# ----------------------------------------------------------------------------------------- scheduling


def test_a_scheduled_message_appears_when_it_is_due_with_a_new_number() -> None:
    bench = one_queue()
    bench.send("q", message("later", due=bench.after(minutes=10)), message("now"))
    assert bench.broker.next_wakeup() == bench.after(minutes=10)
    assert [queued.state for queued in bench.broker.queue("q").peek(0, 10, bench.now)] == [
        State.SCHEDULED,
        State.ACTIVE,
    ]
    bench.advance(minutes=9, seconds=59)
    assert bench.waiting("q") == ["now"]
    bench.advance(seconds=1)
    queued = bench.receive("q")
    assert queued is not None
    assert queued.message.message_id == "later"
    assert queued.sequence_number == 3


def test_messages_become_due_in_the_order_of_their_times() -> None:
    bench = one_queue()
    for minutes in (3, 1, 2):
        bench.send("q", message(str(minutes), due=bench.after(minutes=minutes)))
    bench.advance(minutes=5)
    assert bench.waiting("q") == ["1", "2", "3"]


def test_a_time_in_the_past_means_now() -> None:
    bench = one_queue()
    bench.send("q", message("a", due=bench.now - 1))
    assert bench.waiting("q") == ["a"]


def test_a_cancelled_message_never_appears() -> None:
    bench = one_queue()
    number = bench.broker.schedule("q", message("a"), bench.after(minutes=1))
    bench.broker.queue("q").cancel(number, bench.now)
    assert bench.broker.next_wakeup() is None
    bench.advance(minutes=2)
    assert bench.waiting("q") == []
    with fails_with(NOT_FOUND):
        bench.broker.queue("q").cancel(number, bench.now)


def test_what_has_become_due_cannot_be_cancelled() -> None:
    bench = one_queue()
    number = bench.broker.schedule("q", message("a"), bench.after(minutes=1))
    bench.advance(minutes=1)
    with fails_with(NOT_FOUND):
        bench.broker.queue("q").cancel(number, bench.now)


# -------------------------------------------------------------------------------------------- expiry


@pytest.mark.parametrize("by", ["message", "queue"])
def test_time_to_live_of_a_scheduled_message_runs_from_when_it_was_due(by: str) -> None:
    hour = timedelta(hours=1)
    bench = one_queue(**({"DefaultMessageTimeToLive": "PT1H"} if by == "queue" else {}))
    due = bench.after(days=3)
    number = bench.broker.schedule("q", message("a", ttl=hour if by == "message" else None), due)
    bench.advance(days=3, minutes=59)  # at once: nobody looks in between
    queued = bench.receive("q")
    assert queued is not None
    assert (queued.enqueued_at, queued.expires_at) == (due, due + 3_600_000)
    assert queued.sequence_number > number
    assert queued.lock_token is not None
    bench.broker.queue("q").release(queued.lock_token, bench.now)
    bench.advance(minutes=1)
    assert bench.ids("q") == []


def test_clock_that_leaps_enqueues_and_expires_each_at_its_own_time() -> None:
    bench = Bench(
        {
            "Queues": [
                {"Name": "start", "Properties": {"ForwardTo": "end"}},
                {"Name": "end", "Properties": {"DefaultMessageTimeToLive": "PT90M"}},
            ]
        }
    )
    start = bench.now
    bench.send("end", message("second", due=bench.after(hours=2)))
    bench.send("start", message("first", due=bench.after(hours=1)), message("third", due=bench.after(hours=3)))
    bench.published.clear()
    bench.advance(days=30)
    assert bench.ids("end") == []
    hour = timedelta(hours=1)
    began = bench.clock() - timedelta(days=30)
    assert bench.now - start == timedelta(days=30) // timedelta(milliseconds=1)
    assert [(type(event).__name__, event.message_id, (event.at - began) / hour) for event in bench.published] == [
        ("MessageSent", "first", 1),
        ("MessageSent", "second", 2),
        ("MessageExpired", "first", 2.5),
        ("MessageSent", "third", 3),
        ("MessageExpired", "second", 3.5),
        ("MessageExpired", "third", 4.5),
    ]


def test_without_any_time_to_live_a_scheduled_message_waits_for_ever() -> None:
    bench = one_queue(DefaultMessageTimeToLive="P10675199DT2H48M5.4775807S")
    bench.broker.schedule("q", message("a"), bench.after(days=35))
    bench.advance(days=9000)
    assert bench.waiting("q") == ["a"]


def expiring(**properties: object) -> Bench:
    return one_queue(DeadLetteringOnMessageExpiration=True, **properties)


def test_an_expired_message_is_dead_lettered_where_the_queue_says_so() -> None:
    bench = expiring()
    bench.send("q", message("a", ttl=timedelta(minutes=1)), message("b"))
    bench.advance(seconds=59)
    assert bench.ids("q") == ["a", "b"]
    bench.advance(seconds=1)
    assert bench.ids("q") == ["b"]
    dead = bench.receive(DEAD)
    assert dead is not None
    assert dead.message.user_properties()["DeadLetterReason"] == "TTLExpiredException"


def test_an_expired_message_is_dropped_elsewhere() -> None:
    bench = one_queue()
    bench.send("q", message("a", ttl=timedelta(minutes=1)))
    bench.advance(minutes=1)
    assert bench.ids("q") == bench.ids(DEAD) == []
    assert isinstance(bench.published[-1], events.MessageExpired)


def test_the_shorter_of_the_messages_and_the_queues_time_to_live_counts() -> None:
    bench = one_queue(DefaultMessageTimeToLive="PT10M")
    bench.send(
        "q", message("short", ttl=timedelta(minutes=5)), message("long", ttl=timedelta(minutes=50)), message("none")
    )
    bench.advance(minutes=5)
    assert bench.ids("q") == ["long", "none"]
    bench.advance(minutes=5)
    assert bench.ids("q") == []


def test_a_scheduled_messages_time_to_live_begins_when_it_is_due() -> None:
    bench = one_queue()
    bench.send("q", message("a", ttl=timedelta(minutes=1), due=bench.after(minutes=10)))
    bench.advance(minutes=10)
    bench.advance(seconds=59)
    assert bench.ids("q") == ["a"]
    bench.advance(seconds=1)
    assert bench.ids("q") == []


def test_a_locked_message_expires_when_it_comes_back() -> None:
    bench = expiring(LockDuration="PT5M")
    bench.send("q", message("a", ttl=timedelta(minutes=1)), message("b", ttl=timedelta(minutes=1)))
    completed, abandoned = bench.lock("q"), bench.lock("q")
    bench.advance(minutes=2)
    assert bench.ids("q") == ["a", "b"]
    bench.broker.queue("q").complete(completed, bench.now)
    bench.broker.queue("q").abandon(abandoned, {}, bench.now)
    assert bench.ids("q") == []
    assert bench.ids(DEAD) == ["b"]


def test_a_message_that_came_back_in_time_still_expires() -> None:
    bench = one_queue()
    bench.send("q", message("a", ttl=timedelta(minutes=2)))
    token = bench.lock("q")
    bench.advance(seconds=30)
    bench.broker.queue("q").abandon(token, {}, bench.now)
    bench.advance(seconds=90)
    assert bench.ids("q") == []


def test_a_deferred_message_expires_too() -> None:
    bench = one_queue()
    bench.send("q", message("a", ttl=timedelta(minutes=2)))
    bench.broker.queue("q").defer(bench.lock("q"), {}, bench.now)
    bench.advance(minutes=2)
    assert bench.ids("q") == []


# ------------------------------------------------------------------------------------------- peeking


def test_peeking_shows_all_states_in_order_and_changes_nothing() -> None:
    bench = one_queue()
    bench.send("q", message("a"), message("b", due=bench.after(minutes=1)), message("c"), message("d"))
    token = bench.lock("q")
    bench.broker.queue("q").defer(token, {}, bench.now)
    bench.lock("q")
    seen = bench.broker.queue("q").peek(0, 10, bench.now)
    assert [(queued.message.message_id, queued.state, queued.lock_token is not None) for queued in seen] == [
        ("a", State.DEFERRED, False),
        ("b", State.SCHEDULED, False),
        ("c", State.ACTIVE, True),
        ("d", State.ACTIVE, False),
    ]
    assert [queued.sequence_number for queued in bench.broker.queue("q").peek(2, 2, bench.now)] == [2, 3]
    assert bench.waiting("q") == ["d"]


def test_an_unknown_lock_token_is_a_lost_lock() -> None:
    bench = one_queue()
    for settle in (bench.broker.queue("q").complete, bench.broker.queue("q").release, bench.broker.queue("q").renew):
        with fails_with(LOCK_LOST):
            settle(uuid4(), bench.now)


def test_a_queue_keeps_nothing_of_what_went_through_it() -> None:
    bench = one_queue(DefaultMessageTimeToLive="P14D", LockDuration="PT5M")
    bench.published.clear()
    bench.broker.observers.clear()
    queue = bench.broker.queue("q")
    for number in range(2000):
        bench.send("q", message(str(number)))
        queue.complete(bench.lock("q"), bench.now)
    assert not queue.messages
    assert queue.locked == 0
    assert queue.next_wakeup() is None
    assert queue.bookkeeping < 200
