"""Queues, topics and subscriptions, as a file in the format of Microsoft's Service Bus emulator describes them.

https://learn.microsoft.com/azure/service-bus-messaging/test-locally-with-service-bus-emulator
Unlike the emulator this takes any positive ISO 8601 duration. Left-out properties have Azure's defaults.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Self

from pydantic import ValidationError

from sandbox.servicebus.topology.emulator_config import EntityProperties, RuleEntry, UserConfigDocument
from sandbox.servicebus.topology.filters import CorrelationFilter, Filter, FilterError, SqlFilter, TrueFilter


class TopologyError(ValueError):
    """The topology cannot be used. ``problems`` names everything that is wrong, one line each."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("The topology cannot be used:\n" + "\n".join(f"  - {problem}" for problem in problems))
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True)
class Rule:
    """A named filter of a subscription."""

    name: str
    filter: Filter


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueSettings:
    """How a queue or a subscription treats its messages. Durations in milliseconds."""

    lock_duration: int = 60_000
    max_delivery_count: int = 10
    time_to_live: int | None = None  # None: for ever
    dead_letter_expired: bool = False
    duplicate_window: int | None = None  # None: no duplicate detection
    forward_to: str | None = None
    forward_dead_letters_to: str | None = None


@dataclass(frozen=True, slots=True)
class QueueDescription:
    """A queue."""

    name: str
    settings: QueueSettings = QueueSettings()


@dataclass(frozen=True, slots=True)
class SubscriptionDescription:
    """A subscription of a topic. It takes the messages that at least one of its rules takes."""

    name: str
    settings: QueueSettings = QueueSettings()
    rules: tuple[Rule, ...] = (Rule("$Default", TrueFilter()),)


@dataclass(frozen=True, slots=True)
class TopicDescription:
    """A topic. Durations in milliseconds; see :class:`QueueSettings`."""

    name: str
    time_to_live: int | None = None
    duplicate_window: int | None = None
    subscriptions: tuple[SubscriptionDescription, ...] = ()


@dataclass(frozen=True, slots=True)
class Topology:
    """The entities of a namespace."""

    queues: tuple[QueueDescription, ...] = ()
    topics: tuple[TopicDescription, ...] = ()

    @classmethod
    def read(cls, path: Path) -> Self:
        """From a JSON file. Raises :class:`TopologyError` naming every problem at once."""
        try:
            document = json.loads(path.read_bytes())
        except OSError as error:
            raise TopologyError([f"{path}: {error.strerror}"]) from error
        except ValueError as error:
            raise TopologyError([f"{path}: not JSON: {error}"]) from error
        if not isinstance(document, dict):
            raise TopologyError([f"{path}: not a JSON object"])
        return cls.parse(document)

    @classmethod
    def parse(cls, document: Mapping[str, object]) -> Self:
        """From the decoded file. Raises :class:`TopologyError` naming every problem at once."""
        try:
            config = UserConfigDocument.model_validate(document).user_config
        except ValidationError as error:
            problems = []
            for detail in error.errors(include_url=False, include_context=False):
                where = ".".join(map(str, detail["loc"])) or "document"
                problems.append(f"{where}: {detail['msg']}")
            raise TopologyError(problems) from error
        problems = []
        queues, topics = [], []
        for namespace in config.namespaces:
            queues += [
                QueueDescription(queue.name, _settings(queue.name, queue.properties, problems))
                for queue in namespace.queues
            ]
            for topic in namespace.topics:
                subscriptions = []
                for entry in topic.subscriptions:
                    where = f"{topic.name}/Subscriptions/{entry.name}"
                    rules = tuple(_rule(where, rule, problems) for rule in entry.rules)
                    subscriptions.append(
                        SubscriptionDescription(
                            entry.name,
                            _settings(where, entry.properties, problems),
                            rules or (Rule("$Default", TrueFilter()),),
                        )
                    )
                properties = topic.properties
                topics.append(
                    TopicDescription(
                        topic.name,
                        _duration(properties.default_message_time_to_live),
                        _window(properties),
                        tuple(subscriptions),
                    )
                )
        topology = cls(tuple(queues), tuple(topics))
        problems += topology._disagreements()
        if problems:
            raise TopologyError(problems)
        return topology

    def _disagreements(self) -> Iterator[str]:
        """What no single entry shows: names given twice, forwarding to nowhere or in a circle."""
        names = [queue.name for queue in self.queues] + [topic.name for topic in self.topics]
        yield from _twice("entity", names)
        known = {name.casefold() for name in names}
        forwards: dict[str, set[str]] = {}
        for topic in self.topics:
            yield from _twice(f"{topic.name}: subscription", [entry.name for entry in topic.subscriptions])
            for entry in topic.subscriptions:
                yield from _twice(f"{topic.name}/{entry.name}: rule", [rule.name for rule in entry.rules])
        owners = [(queue.name, queue.name, queue.settings) for queue in self.queues]
        owners += [
            (f"{topic.name}/Subscriptions/{entry.name}", topic.name, entry.settings)
            for topic in self.topics
            for entry in topic.subscriptions
        ]
        for where, source, settings in owners:
            for field, target in (
                ("ForwardTo", settings.forward_to),
                ("ForwardDeadLetteredMessagesTo", settings.forward_dead_letters_to),
            ):
                if target is None:
                    continue
                if target.casefold() not in known:
                    yield f"{where}: {field} names {target!r}, which is neither a queue nor a topic"
                elif field == "ForwardTo":
                    forwards.setdefault(source.casefold(), set()).add(target.casefold())
        for start, targets in forwards.items():
            reached, ahead = set(), set(targets)
            while ahead:
                name = ahead.pop()
                if name not in reached:
                    reached.add(name)
                    ahead |= forwards.get(name, set())
            if start in reached:
                yield f"{start}: ForwardTo leads back to it"


def _twice(what: str, names: list[str]) -> Iterator[str]:
    seen: set[str] = set()
    for name in names:
        if name.casefold() in seen:
            yield f"{what} {name!r} is defined twice"
        seen.add(name.casefold())


def _duration(value: timedelta | None) -> int | None:
    # Azure writes "for ever" as the longest .NET TimeSpan, of 10675199 days; no sandbox lives a century.
    return None if value is None or value.days > 36_500 else value // timedelta(milliseconds=1)


def _window(properties: EntityProperties) -> int | None:
    if not properties.requires_duplicate_detection:
        return None
    return properties.duplicate_detection_history_time_window // timedelta(milliseconds=1)


def _settings(where: str, properties: EntityProperties, problems: list[str]) -> QueueSettings:
    if properties.requires_session:
        problems.append(f"{where}: RequiresSession: sessions are not part of the sandbox")
    return QueueSettings(
        lock_duration=properties.lock_duration // timedelta(milliseconds=1),
        max_delivery_count=properties.max_delivery_count,
        time_to_live=_duration(properties.default_message_time_to_live),
        dead_letter_expired=properties.dead_lettering_on_message_expiration,
        duplicate_window=_window(properties),
        forward_to=properties.forward_to or None,
        forward_dead_letters_to=properties.forward_dead_lettered_messages_to or None,
    )


def _rule(where: str, entry: RuleEntry, problems: list[str]) -> Rule:
    properties = entry.properties
    if properties.action is not None:
        problems.append(f"{where}: rule {entry.name!r}: actions are not part of the sandbox")
    if properties.filter_type == "Sql":
        expression = properties.sql_filter.sql_expression if properties.sql_filter else ""
        try:
            return Rule(entry.name, SqlFilter(expression))
        except FilterError as error:
            problems.append(f"{where}: rule {entry.name!r}: {error}")
            return Rule(entry.name, TrueFilter())
    given = properties.correlation_filter
    if given is None:
        problems.append(f"{where}: rule {entry.name!r}: FilterType Correlation without a CorrelationFilter")
        return Rule(entry.name, TrueFilter())
    return Rule(entry.name, CorrelationFilter(given.conditions(), given.properties))
