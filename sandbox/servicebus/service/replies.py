"""Requests and responses in messages, as ``$cbs`` and ``$management`` exchange them.

OASIS AMQP Management 1.0 (working draft), and
https://learn.microsoft.com/azure/service-bus-messaging/service-bus-amqp-request-response
"""

from sandbox.servicebus.amqp.codec import CodecError
from sandbox.servicebus.broker.messages import (
    APPLICATION_PROPERTIES,
    PROPERTIES,
    VALUE,
    Message,
    section,
    sections,
)
from sandbox.servicebus.protocol.links import LinkSession, ReplyLink


def request_of(request: Message) -> tuple[str, dict[object, object]]:
    """The operation and its arguments. Raises :class:`CodecError` if the message is not a request."""
    operation = request.user_properties().get("operation")
    if not isinstance(operation, str):
        raise CodecError("a request names its operation in an application property")
    for code, value, _ in sections(request.body):
        if code == VALUE and isinstance(value, dict):
            return operation, value
    return operation, {}


def respond(session: LinkSession, request: Message, path: str, properties: dict[object, object], body: object) -> None:
    """Send the response to the request's reply-to, else on the session's link from the path it came in by.

    The correlation id is the request's message id with its type: clients compare the two.
    """
    reply_to = request.property("reply_to")
    links = [link for link in session.links if isinstance(link, ReplyLink)]
    chosen = [link for link in links if reply_to is not None and link.reply_to == reply_to]
    chosen = chosen or [link for link in links if link.address.casefold() == path.casefold()]
    if not chosen:
        return  # the client has closed its link: nobody waits for the response
    response = Message(
        ttl=None,
        durable=None,
        priority=None,
        annotations={},
        message_id=None,
        properties=section(PROPERTIES, [None, None, None, None, None, request.message_id]),
        application_properties=section(APPLICATION_PROPERTIES, properties),
        body=section(VALUE, body),
    )
    chosen[0].reply(response)
