"""Why the service says no: one exception with what each of the two ways of answering needs.

On a link the answer carries the AMQP condition, on ``$management`` also an HTTP-like status.
https://learn.microsoft.com/azure/service-bus-messaging/service-bus-amqp-request-response
"""


class Refusal(Exception):
    """An operation is refused. ``condition`` is the symbol that client libraries map to their exceptions."""

    def __init__(self, condition: str, description: str, status: int = 400) -> None:
        super().__init__(description)
        self.condition = condition
        self.description = description
        self.status = status


def entity_not_found(address: str) -> Refusal:
    """There is no such entity."""
    return Refusal("amqp:not-found", f"The messaging entity '{address}' could not be found.", 404)


def lock_lost() -> Refusal:
    """The lock expired, was taken away, or the message is settled."""
    return Refusal(
        "com.microsoft:message-lock-lost",
        "The lock supplied is invalid. Either the lock expired, or the message has been removed from the queue.",
        410,
    )


def message_not_found(sequence_number: int) -> Refusal:
    """No message of that number in the state that the operation needs."""
    return Refusal("com.microsoft:message-not-found", f"There is no message {sequence_number} for this.", 404)


def not_allowed(description: str) -> Refusal:
    """The entity is not made for that."""
    return Refusal("amqp:not-allowed", description)


def not_implemented(description: str) -> Refusal:
    """Azure does it, the sandbox does not."""
    return Refusal("amqp:not-implemented", description, 501)
