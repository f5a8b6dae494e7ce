"""``$cbs``: tokens and signatures that clients put before they open a link.

https://learn.microsoft.com/azure/service-bus-messaging/service-bus-amqp-protocol-guide#claims-based-security
"""

from collections.abc import Callable

from sandbox.servicebus.amqp.codec import Int
from sandbox.servicebus.amqp.composites import Composite
from sandbox.servicebus.amqp.outcomes import Accepted
from sandbox.servicebus.broker.errors import not_allowed
from sandbox.servicebus.broker.messages import VALUE, Message, parse, sections
from sandbox.servicebus.protocol.links import LinkSession
from sandbox.servicebus.service.replies import respond

TokenCheck = Callable[[str], bool]
"""Whether an identity's token is valid for Service Bus."""


class AuthorizationTarget:
    """``$cbs``: signatures by a key are accepted as they are, tokens of an identity where `tokens` accepts them."""

    def __init__(self, path: str, tokens: TokenCheck | None) -> None:
        self._path = path
        self._tokens = tokens

    def take(self, session: LinkSession, data: bytes, message_format: int) -> Composite:
        """See :class:`LinkTarget`."""
        request = parse(data)
        operation = request.user_properties().get("operation")
        if operation != "put-token":
            raise not_allowed(f"$cbs supports the operation put-token, not {operation!r}.")
        status, description = (200, "OK") if self._accepts(request) else (401, "InvalidToken: the token is not valid.")
        properties: dict[object, object] = {"status-code": Int(status), "status-description": description}
        respond(session, request, self._path, properties, None)
        return Accepted()

    def _accepts(self, request: Message) -> bool:
        if self._tokens is None or request.user_properties().get("type") != "jwt":
            return True
        token = next((value for code, value, _ in sections(request.body) if code == VALUE), None)
        return isinstance(token, str) and self._tokens(token)
