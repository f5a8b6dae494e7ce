"""Triggers, read from decorators: settings resolved, names validated.

`%SETTING%` stands for an app setting, as https://learn.microsoft.com/azure/azure-functions/functions-bindings-expressions-patterns
has it; a connection is named by the prefix of its settings.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from azure.functions.decorators.core import DataType

from sandbox.functions_host.schedule import Schedule, parse_schedule

_PLACEHOLDER = re.compile(r"%([^%]*)%")


class BindingError(ValueError):
    """A trigger that can't be listened to; `texts` names everything that is wrong with it."""

    def __init__(self, texts: list[str]) -> None:
        super().__init__("; ".join(texts))
        self.texts = texts


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceBusConnection:
    """How to reach a namespace: either by a connection string or by its host name and an identity.

    Attributes:
        connection_string: holds a key; kept out of the repr.
        namespace: the fully qualified one, such as `x.servicebus.windows.net`.
        client_id: of a user-assigned identity; None for the system-assigned one.
        managed_identity: ask only for a managed identity, instead of all that DefaultAzureCredential tries.
    """

    connection_string: str | None = None
    namespace: str | None = None
    client_id: str | None = None
    managed_identity: bool = False

    def __repr__(self) -> str:
        by_string = self.connection_string is not None
        return f"ServiceBusConnection(namespace={self.namespace!r}, by_string={by_string})"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceBusTrigger:
    """A queue, or a subscription of a topic: exactly one of `queue` and `topic` is set.

    Attributes:
        binary: the binding asks for bytes (`data_type=BINARY`); otherwise the host hands over text.
        auto_complete: overrides host.json where it is not None.
    """

    connection: ServiceBusConnection
    queue: str | None
    topic: str | None
    subscription: str | None
    binary: bool
    auto_complete: bool | None

    @property
    def entity(self) -> str:
        """The entity's path, for log lines."""
        return self.queue or f"{self.topic}/{self.subscription}"

    def __str__(self) -> str:
        return f"messages of {self.entity}"


@dataclass(frozen=True, slots=True, kw_only=True)
class TimerTrigger:
    """Fires when `schedule` says so, and once when the host starts where `run_on_startup`."""

    schedule: Schedule
    run_on_startup: bool

    def __str__(self) -> str:
        return f"the schedule {self.schedule}"


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpTrigger:
    """Fires on requests to `{route prefix}/{route}`.

    Attributes:
        methods: in capitals; None for all of them.
        needs_key: False only for the level `anonymous`.
    """

    route: str
    methods: frozenset[str] | None
    needs_key: bool

    def __str__(self) -> str:
        methods = ", ".join(sorted(self.methods)) if self.methods else "any method"
        return f"HTTP calls of {self.route} ({methods})"


class SettingResolver:
    """Puts app settings into binding properties and remembers those it did not find."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self.problems: list[str] = []

    def resolve(self, binding_property: str, text: object) -> str:
        """`text` with every `%SETTING%` replaced. What is missing is noted, and left as it stands."""

        def value_of(match: re.Match[str]) -> str:
            value = self._environment.get(match[1])
            if not value:  # an empty setting does not resolve in Azure either
                self.problems.append(f"{binding_property} names the setting {match[1]}, which is missing or empty")
                return match[0]
            return value

        if not isinstance(text, str) or not text:
            self.problems.append(f"{binding_property} is missing or empty")
            return ""
        return _PLACEHOLDER.sub(value_of, text)

    def connection(self, binding_property: str, name: object) -> ServiceBusConnection:
        """The connection whose settings begin with `name`."""
        prefix = self.resolve(binding_property, name)
        if not prefix:
            return ServiceBusConnection()
        if connection_string := self._environment.get(prefix):
            return ServiceBusConnection(connection_string=connection_string)
        if namespace := self._environment.get(f"{prefix}__fullyQualifiedNamespace"):
            return ServiceBusConnection(
                namespace=namespace,
                client_id=self._environment.get(f"{prefix}__clientId") or None,
                managed_identity=self._environment.get(f"{prefix}__credential", "").lower() == "managedidentity",
            )
        self.problems.append(
            f"{binding_property} names {prefix}, but neither the setting {prefix} (a connection string)"
            f" nor {prefix}__fullyQualifiedNamespace (with an identity) is there"
        )
        return ServiceBusConnection()


def read_trigger(binding: Any, settings: SettingResolver) -> ServiceBusTrigger | TimerTrigger | HttpTrigger:
    """The trigger that `binding`, an `azure.functions.decorators.core.Trigger`, describes.

    `binding` is untyped because generic triggers carry the same properties without the same classes.

    Raises:
        BindingError: with all that is wrong with it.
    """
    trigger: ServiceBusTrigger | TimerTrigger | HttpTrigger | None = None
    if binding.type == "serviceBusTrigger":
        settings.problems.extend(_unsupported(binding))
        trigger = _service_bus(binding, settings)
    elif binding.type == "timerTrigger":
        trigger = _timer(binding, settings)
    elif binding.type == "httpTrigger":
        trigger = _http(binding)
    else:
        settings.problems.append(f'triggers of type "{binding.type}" are not known to this host')
    if trigger is None or settings.problems:
        raise BindingError(settings.problems)
    return trigger


def _unsupported(binding: Any) -> Iterator[str]:
    if str(getattr(binding, "cardinality", None)).lower() == "many":
        yield "cardinality many is not known to this host: take one message at a time"
    if getattr(binding, "is_sessions_enabled", None):
        yield "is_sessions_enabled is not known to this host"


def _service_bus(binding: Any, settings: SettingResolver) -> ServiceBusTrigger:
    by_queue = hasattr(binding, "queue_name")
    return ServiceBusTrigger(
        connection=settings.connection("connection", binding.connection),
        queue=settings.resolve("queue_name", binding.queue_name) if by_queue else None,
        topic=None if by_queue else settings.resolve("topic_name", binding.topic_name),
        subscription=None if by_queue else settings.resolve("subscription_name", binding.subscription_name),
        binary=binding.data_type == DataType.BINARY.value,
        auto_complete=getattr(binding, "auto_complete_messages", None),
    )


def _timer(binding: Any, settings: SettingResolver) -> TimerTrigger | None:
    before = len(settings.problems)
    text = settings.resolve("schedule", binding.schedule)
    if len(settings.problems) > before:
        return None
    try:
        schedule = parse_schedule(text)
    except ValueError as error:
        settings.problems.append(f"schedule: {error}")
        return None
    return TimerTrigger(schedule=schedule, run_on_startup=bool(binding.run_on_startup))


def _http(binding: Any) -> HttpTrigger:
    methods = frozenset(str(method).upper() for method in binding.methods or ())
    return HttpTrigger(
        route=str(binding.route).strip("/"),
        methods=methods or None,
        # The real host has more keys than one; here `admin` asks for the same key as `function`.
        needs_key=str(binding.auth_level or "function").lower() != "anonymous",
    )
