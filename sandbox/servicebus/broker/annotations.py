"""The message annotations that Service Bus adds to a message it delivers."""

from sandbox.servicebus.amqp.codec import Int, Long, Symbol, Timestamp
from sandbox.servicebus.broker.storage import QueuedMessage


def broker_annotations(queued: QueuedMessage, *, peeked: bool = False) -> dict[object, object]:
    """Sequence number, times and lock of a message, and its state if it is not active.

    One that is peeked always has a state and never a lock: whoever looks does not learn who has it.
    """
    added: dict[object, object] = {
        Symbol("x-opt-sequence-number"): Long(queued.sequence_number),
        Symbol("x-opt-enqueued-time"): Timestamp(queued.enqueued_at),
    }
    if queued.lock_token is not None and not peeked:
        added[Symbol("x-opt-locked-until")] = Timestamp(queued.locked_until)
    if queued.scheduled_for is not None:
        added[Symbol("x-opt-scheduled-enqueue-time")] = Timestamp(queued.scheduled_for)
    if peeked or queued.state:
        added[Symbol("x-opt-message-state")] = Int(queued.state)
    return added
