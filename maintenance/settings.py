"""App settings, read from environment variables and validated all at once."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar
from urllib.parse import urlsplit
from uuid import UUID

from maintenance.alerts.rules import CAREFUL_ROLLOUT, SERVICES, AlertRules
from maintenance.domain.errors import InvalidRequest, Problem, SettingsError
from maintenance.domain.formats import parse_duration
from maintenance.domain.resources import ScaleSet, Scope, parse_scope
from maintenance.lifecycle.timing import Timing

T = TypeVar("T")
CONNECTION = "ServiceBusConnection"


@dataclass(frozen=True, slots=True)
class Cloud:
    """ARM endpoint of an Azure cloud, and the scope of tokens for it."""

    endpoint: str
    token_scope: str


CLOUDS = {
    "AzureCloud": Cloud("https://management.azure.com", "https://management.azure.com/.default"),
    "AzureUSGovernment": Cloud(
        "https://management.usgovcloudapi.net", "https://management.core.usgovcloudapi.net/.default"
    ),
    "AzureChinaCloud": Cloud("https://management.chinacloudapi.cn", "https://management.chinacloudapi.cn/.default"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceBusConnection:
    """Connection to Service Bus: by namespace and identity, or by connection string (omitted from every repr)."""

    namespace: str | None = None
    client_id: str | None = None
    connection_string: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """App settings with their defaults."""

    service_bus: ServiceBusConnection
    allowed_scopes: tuple[Scope, ...]
    requests_queue: str = "maintenance-requests"
    operations_queue: str = "maintenance-operations"
    events_topic: str = "maintenance-events"
    coordination_queue: str = "maintenance-coordination"
    arm_endpoint: str = CLOUDS["AzureCloud"].endpoint
    token_scope: str = CLOUDS["AzureCloud"].token_scope
    identity_client_id: str | None = None
    default_deadline: timedelta = timedelta(hours=6)
    dry_run: bool = False
    allow_whole_scale_set: bool = True
    read_instance_views: bool = True
    wait_for_lease: bool = True
    timing: Timing = field(default_factory=Timing)
    tick_budget: timedelta = timedelta(minutes=4)
    poll_concurrency: int = 400
    poll_receivers: int = 4
    receive_wait: timedelta = timedelta(seconds=1)
    alerts: AlertRules = field(default_factory=AlertRules)

    def allows(self, scale_set: ScaleSet) -> bool:
        """Whether requests are allowed to name this scale set."""
        return any(scope.contains(scale_set) for scope in self.allowed_scopes)


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Read the settings. Raises SettingsError with every setting that is missing or invalid."""
    reader = _Reader(environment)
    cloud_name = reader.text("AZURE_CLOUD", "AzureCloud")
    cloud = {name.lower(): cloud for name, cloud in CLOUDS.items()}.get(cloud_name.lower())
    if cloud is None:
        reader.problems.append(Problem("AZURE_CLOUD", f"must be one of {', '.join(CLOUDS)}", cloud_name))
        cloud = CLOUDS["AzureCloud"]
    defaults = Timing()
    timing = Timing(
        min_poll=reader.duration("MAINTENANCE_MIN_POLL_INTERVAL", defaults.min_poll),
        default_poll=reader.duration("MAINTENANCE_DEFAULT_POLL_INTERVAL", defaults.default_poll),
        max_poll=reader.duration("MAINTENANCE_MAX_POLL_INTERVAL", defaults.max_poll),
        settle=reader.span("MAINTENANCE_SETTLE_TIME", defaults.settle),
        confirm=reader.duration("MAINTENANCE_CONFIRM_TIME", defaults.confirm),
        view_lag=reader.duration("MAINTENANCE_VIEW_LAG", defaults.view_lag),
        lease_wait=reader.duration("MAINTENANCE_LEASE_WAIT", defaults.lease_wait),
    )
    if not timing.min_poll <= timing.default_poll <= timing.max_poll:
        rule = "must be between MAINTENANCE_MIN_POLL_INTERVAL and MAINTENANCE_MAX_POLL_INTERVAL"
        reader.problems.append(Problem("MAINTENANCE_DEFAULT_POLL_INTERVAL", rule))
    views = reader.flag("MAINTENANCE_READ_INSTANCE_VIEWS", default=True)
    dry_run = reader.flag("MAINTENANCE_DRY_RUN", default=False)
    settings = Settings(
        service_bus=reader.service_bus(),
        allowed_scopes=reader.scopes("MAINTENANCE_ALLOWED_SCOPES"),
        requests_queue=reader.text("REQUESTS_QUEUE", "maintenance-requests"),
        operations_queue=reader.text("OPERATIONS_QUEUE", "maintenance-operations"),
        events_topic=reader.text("EVENTS_TOPIC", "maintenance-events"),
        coordination_queue=reader.text("COORDINATION_QUEUE", "maintenance-coordination"),
        arm_endpoint=reader.parsed("ARM_ENDPOINT", cloud.endpoint, _endpoint),
        token_scope=reader.text("ARM_TOKEN_SCOPE", cloud.token_scope),
        identity_client_id=reader.text("MAINTENANCE_IDENTITY_CLIENT_ID", "") or None,
        default_deadline=reader.span("MAINTENANCE_DEFAULT_DEADLINE", timedelta(hours=6)),
        dry_run=dry_run,
        allow_whole_scale_set=reader.flag("MAINTENANCE_ALLOW_WHOLE_SCALE_SET", default=True),
        wait_for_lease=reader.choice("MAINTENANCE_SECOND_ROLLOUT", {"wait": True, "reject": False}, default="wait"),
        read_instance_views=views,
        timing=timing,
        tick_budget=reader.span("MAINTENANCE_TICK_BUDGET", timedelta(minutes=4)),
        poll_concurrency=reader.number("MAINTENANCE_POLL_CONCURRENCY", 400),
        poll_receivers=reader.number("MAINTENANCE_POLL_RECEIVERS", 4),
        receive_wait=reader.duration("MAINTENANCE_RECEIVE_WAIT", timedelta(seconds=1)),
        alerts=reader.alert_rules(views=views, dry_run=dry_run),
    )
    if reader.problems:
        raise SettingsError(tuple(reader.problems))
    return settings


class _Reader:
    """Reader of single settings that collects the problems it finds."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self.problems: list[Problem] = []

    def text(self, name: str, default: str) -> str:
        return self._environment.get(name, "").strip() or default

    def parsed(self, name: str, default: str, parse: Callable[[str], str]) -> str:
        return self._read(name, default, parse)

    def duration(self, name: str, default: timedelta) -> timedelta:
        return self._read(name, default, parse_duration)

    def span(self, name: str, default: timedelta) -> timedelta:
        return self._read(name, default, _span)

    def flag(self, name: str, *, default: bool) -> bool:
        return self._read(name, default, _flag)

    def choice(self, name: str, choices: Mapping[str, bool], *, default: str) -> bool:
        text = self.text(name, default).lower()
        if text not in choices:
            self.problems.append(Problem(name, f"must be one of {', '.join(choices)}", text[:100]))
        return choices.get(text, choices[default])

    def number(self, name: str, default: int) -> int:
        return self._read(name, default, _number)

    def _read(self, name: str, default: T, parse: Callable[[str], T]) -> T:
        text = self.text(name, "")
        if not text:
            return default
        try:
            return parse(text)
        except ValueError as error:
            self.problems.append(Problem(name, str(error), text[:100]))
            return default

    def scopes(self, name: str) -> tuple[Scope, ...]:
        texts = self.text(name, "").replace(",", " ").replace(";", " ").split()
        if not texts:
            rule = "is missing: list the subscriptions, resource groups or scale sets that requests are allowed to name"
            self.problems.append(Problem(name, rule))
        scopes = []
        for text in texts:
            try:
                scopes.append(parse_scope(text))
            except ValueError as error:
                self.problems.append(Problem(name, str(error), text[:200]))
        return tuple(scopes)

    def alert_rules(self, *, views: bool, dry_run: bool) -> AlertRules:
        # Waves are planned by instance views; without views all instances are maintained at once.
        default_rollout = CAREFUL_ROLLOUT if views else {}
        return AlertRules(
            rules=self._read("MAINTENANCE_ALERT_RULES", (), parse_names),
            services=self._read("MAINTENANCE_ALERT_SERVICES", SERVICES, parse_names),
            severities=self._read("MAINTENANCE_ALERT_SEVERITIES", (), parse_severities),
            regions=self._read("MAINTENANCE_ALERT_REGIONS", (), parse_names),
            rollout=self._read("MAINTENANCE_ALERT_ROLLOUT", default_rollout, parse_rollout),
            dry_run=self.flag("MAINTENANCE_ALERT_DRY_RUN", default=False) or dry_run,
        )

    def service_bus(self) -> ServiceBusConnection:
        connection_string = self.text(CONNECTION, "")
        namespace = self.text(f"{CONNECTION}__fullyQualifiedNamespace", "")
        client_id = self.text(f"{CONNECTION}__clientId", "") or None
        if connection_string and namespace:
            rule = f"must not be set together with {CONNECTION}__fullyQualifiedNamespace"
            self.problems.append(Problem(CONNECTION, rule))
        elif connection_string:
            if "endpoint=" not in connection_string.lower():
                rule = "must be a Service Bus connection string, which starts with Endpoint="
                self.problems.append(Problem(CONNECTION, rule))
        elif not namespace:
            rule = "is missing: the namespace's host name, for example my-namespace.servicebus.windows.net"
            self.problems.append(Problem(f"{CONNECTION}__fullyQualifiedNamespace", rule))
        return ServiceBusConnection(
            namespace=namespace or None, client_id=client_id, connection_string=connection_string or None
        )


def _flag(text: str) -> bool:
    match text.lower():
        case "true" | "1" | "yes" | "on":
            return True
        case "false" | "0" | "no" | "off":
            return False
    raise ValueError("must be true or false")


def _span(text: str) -> timedelta:
    span = parse_duration(text)
    if not span:
        raise ValueError("must not be zero")
    return span


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 1000):
        raise ValueError("must be a whole number from 1 to 1000")
    return int(text)


def _endpoint(text: str) -> str:
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise ValueError("must be a URL, for example https://management.azure.com") from None
    if parts.scheme not in ("https", "http") or not parts.hostname or "@" in parts.netloc:
        raise ValueError("must be an https URL with a host, for example https://management.azure.com")
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise ValueError("must have no path, query or fragment")
    if parts.scheme == "http" and not _is_loopback(parts.hostname):
        raise ValueError("must be https, since a token is sent there (http is accepted for a loopback address only)")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    # ARM's own URLs omit the default port, and are trusted only if they are spelled like the endpoint.
    default = port is None or port == (443 if parts.scheme == "https" else 80)
    return f"{parts.scheme}://{host}" + ("" if default else f":{port}")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def parse_names(text: str) -> tuple[str, ...]:
    """Parse names separated by commas or semicolons; they may contain spaces. Raises ValueError if there are none."""
    names = tuple(name for part in text.replace(";", ",").split(",") if (name := part.strip()))
    if not names:
        raise ValueError("must contain a name, or not be set")
    return names


def parse_severities(text: str) -> tuple[str, ...]:
    """Parse a list of severities, `Sev0` to `Sev4`. Raises ValueError that lists the invalid ones."""
    names = parse_names(text)
    if invalid := [name for name in names if name.lower() not in ("sev0", "sev1", "sev2", "sev3", "sev4")]:
        raise ValueError(f"must consist of Sev0 to Sev4, not {', '.join(invalid)}")
    return names


def parse_rollout(text: str) -> Mapping[str, Any]:
    """Parse the JSON of a request's `rollout`; returned unchanged. Raises ValueError with every problem."""
    from maintenance.domain.messages import Envelope  # noqa: PLC0415 - indexing must not import pydantic
    from maintenance.requests.schema import read_request  # noqa: PLC0415 - as above

    # Validated as part of a request, so that it accepts exactly what a request accepts.
    names = {"subscriptionId": str(UUID(int=0)), "resourceGroupName": "any", "vmScaleSetName": "any"}
    try:
        rollout = json.loads(text)
        read_request(Envelope(body=b""), {**names, "rollout": rollout})
    except InvalidRequest as error:
        raise ValueError("; ".join(f"{problem.field}: {problem.message}" for problem in error.problems)) from None
    except (ValueError, RecursionError):
        raise ValueError('must be a JSON object, for example {"maxInstancesPerWave": "20%"}') from None
    return rollout or {}
