"""The administration API, as far as it describes entities: HTTP with ATOM, on the port of AMQP. Nothing can be changed.

https://learn.microsoft.com/rest/api/servicebus/get-entity; read by `ServiceBusAdministrationClient` of the SDKs.
"""

from http import HTTPStatus
from typing import Final
from urllib.parse import unquote, urlsplit
from xml.sax.saxutils import escape

from sandbox.servicebus.topology.topology import QueueSettings, Topology

METHOD: Final = b"GET "
_NAMESPACE: Final = "http://schemas.microsoft.com/netservices/2010/10/servicebus/connect"
_FOR_EVER: Final = "P10675199DT2H48M5.4775807S"
_DEFAULT_WINDOW: Final = 600_000  # what Azure shows where there is no duplicate detection
_MOST: Final = 16_384  # bytes of a request's head


class Administration:
    """Responds to requests for the entities of a topology."""

    def __init__(self, topology: Topology) -> None:
        self._queues = {queue.name.casefold(): queue.settings for queue in topology.queues}
        self._topics = {topic.name.casefold(): topic for topic in topology.topics}

    def respond(self, received: bytes) -> bytes | None:
        """The whole HTTP response to a request; None while its head is not complete."""
        head, end, _ = received.partition(b"\r\n\r\n")
        if not end and len(received) < _MOST:
            return None
        words = head.split(b"\r\n")[0].decode("latin-1").split(" ")
        described = self._described(words[1]) if len(words) == 3 else None
        if described is None:
            return _response(HTTPStatus.NOT_FOUND, "<Error><Code>404</Code><Detail>No such entity.</Detail></Error>")
        return _response(HTTPStatus.OK, described)

    def _described(self, target: str) -> str | None:
        path = [part.casefold() for part in unquote(urlsplit(target).path).strip("/").split("/")]
        if len(path) == 3 and path[1] == "subscriptions" and path[0] in self._topics:
            for subscription in self._topics[path[0]].subscriptions:
                if subscription.name.casefold() == path[2]:
                    return _entry("SubscriptionDescription", subscription.name, _of_receiver(subscription.settings))
            return None
        name = "/".join(path)
        if (topic := self._topics.get(name)) is not None:
            elements = _lasting(topic.time_to_live) + _duplicates(topic.duplicate_window)
            return _entry("TopicDescription", topic.name, f"{elements}<EnablePartitioning>false</EnablePartitioning>")
        if (settings := self._queues.get(name)) is None:
            return None
        elements = _of_receiver(settings) + _duplicates(settings.duplicate_window)
        return _entry("QueueDescription", name, f"{elements}<EnablePartitioning>false</EnablePartitioning>")


def _of_receiver(settings: QueueSettings) -> str:
    """What a queue and a subscription have alike. A topology with sessions is refused."""
    expired = "true" if settings.dead_letter_expired else "false"
    return (
        f"<LockDuration>{_duration(settings.lock_duration)}</LockDuration>"
        "<RequiresSession>false</RequiresSession>"
        f"{_lasting(settings.time_to_live)}"
        f"<DeadLetteringOnMessageExpiration>{expired}</DeadLetteringOnMessageExpiration>"
        f"<MaxDeliveryCount>{settings.max_delivery_count}</MaxDeliveryCount>"
    )


def _lasting(time_to_live: int | None) -> str:
    text = _FOR_EVER if time_to_live is None else _duration(time_to_live)
    return f"<DefaultMessageTimeToLive>{text}</DefaultMessageTimeToLive>"


def _duplicates(window: int | None) -> str:
    on = "false" if window is None else "true"
    length = _duration(_DEFAULT_WINDOW if window is None else window)
    return (
        f"<RequiresDuplicateDetection>{on}</RequiresDuplicateDetection>"
        f"<DuplicateDetectionHistoryTimeWindow>{length}</DuplicateDetectionHistoryTimeWindow>"
    )


def _duration(milliseconds: int) -> str:
    seconds, rest = divmod(milliseconds, 1000)
    days, seconds = divmod(seconds, 86_400)
    return f"P{days}DT{seconds}{f'.{rest:03}' if rest else ''}S"


def _entry(kind: str, name: str, elements: str) -> str:
    return (
        '<entry xmlns="http://www.w3.org/2005/Atom">'
        f'<title type="text">{escape(name)}</title><content type="application/xml">'
        f'<{kind} xmlns="{_NAMESPACE}" xmlns:i="http://www.w3.org/2001/XMLSchema-instance">{elements}</{kind}>'
        "</content></entry>"
    )


def _response(status: HTTPStatus, text: str) -> bytes:
    body = text.encode()
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: application/atom+xml;type=entry;charset=utf-8\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body
