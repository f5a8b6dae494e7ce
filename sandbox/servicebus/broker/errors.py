"""Errors of Service Bus: one exception, with what a link and a management response need.

A link carries the AMQP condition, a response of ``$management`` also an HTTP-like status.
https://learn.microsoft.com/azure/service-bus-messaging/service-bus-amqp-request-response
"""


class BrokerError(Exception):
    """An operation failed. ``condition`` is the symbol that client libraries map to their exceptions."""

    def __init__(self, condition: str, description: str, status: int = 400) -> None:
        super().__init__(description)
        self.condition = condition
        self.description = description
        self.status = status


def entity_not_found(address: str) -> BrokerError:
    """There is no such entity."""
    return BrokerError("amqp:not-found", f"The messaging entity '{address}' could not be found.", 404)


def lock_lost() -> BrokerError:
    """The lock expired, was taken away, or the message is settled."""
    return BrokerError(
        "com.microsoft:message-lock-lost",
        "The lock supplied is invalid. Either the lock expired, or the message has been removed from the queue.",
        410,
    )


def message_not_found(sequence_number: int) -> BrokerError:
    """No message of that number in the state that the operation needs."""
    return BrokerError("com.microsoft:message-not-found", f"There is no message {sequence_number} for this.", 404)


def not_allowed(description: str) -> BrokerError:
    """The entity does not support the operation."""
    return BrokerError("amqp:not-allowed", description)


def not_implemented(description: str) -> BrokerError:
    """Azure supports it, the sandbox does not."""
    return BrokerError("amqp:not-implemented", description, 501)
