"""App settings, read from environment variables and validated all at once.

What nobody reads is refused too where its name is one of ours: a misspelt `MAINTENANCE_DRY_RUN` would restart VMs. No
problem repeats a secret, wherever it was put.
"""

from __future__ import annotations

import difflib
import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, TypeVar
from urllib.parse import SplitResult, urlsplit
from uuid import UUID

from maintenance.alerts.rules import CAREFUL_ROLLOUT, SERVICES, AlertRules
from maintenance.alerts.token_rules import ACTION_GROUPS, LOGIN, WEBHOOK_ROLE, TokenRules
from maintenance.domain.errors import InvalidRequest, Problem, SettingsError
from maintenance.domain.formats import parse_duration, parse_json
from maintenance.domain.redaction import redact
from maintenance.domain.resources import GUID, ScaleSet, Scope, parse_scope, split_scopes
from maintenance.lifecycle.timing import Timing

T = TypeVar("T")
CONNECTION = "ServiceBusConnection"
NAMESPACE = f"{CONNECTION}__fullyQualifiedNamespace"
POLL_SCHEDULE = "*/30 * * * * *"
DEAD_LETTER_SCHEDULE = "15 */5 * * * *"
# What begins like this is for this app, and is refused where the app does not know it.
PREFIXES = ("MAINTENANCE_", "ARM_", f"{CONNECTION}__".upper())
# `functionTimeout` of host.json: the host then ends the process, with all that it is doing. A tick takes new work for
# its budget, and then finishes what it has begun.
FUNCTION_TIMEOUT = timedelta(minutes=10)
LONGEST_TICK_BUDGET = timedelta(minutes=8)
_ENTITY = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._/~\-]{0,258}[A-Za-z0-9_])?", re.ASCII)
_HOST = re.compile(
    r"(?:[a-z0-9](?:[a-z0-9\-]{0,61}[a-z0-9])?\.)+[a-z0-9](?:[a-z0-9\-]{0,61}[a-z0-9])?", re.I | re.ASCII
)
# Of an NCRONTAB expression: what, least, most, names.
_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_SCHEDULE: tuple[tuple[str, int, int, tuple[str, ...]], ...] = (
    ("second", 0, 59, ()),
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day", 1, 31, ()),
    ("month", 1, 12, _MONTHS),
    ("day of the week", 0, 6, _DAYS),
)
_SCHEDULE_ITEM = re.compile(
    r"(?:\*|([0-9]{1,2}|[A-Za-z]{3,9})(?:-([0-9]{1,2}|[A-Za-z]{3,9}))?)(?:/([0-9]{1,2}))?", re.ASCII
)
# With an audience, alerts come with a token of Entra in place of a function key.
ALERT_AUDIENCE = "MAINTENANCE_ALERT_TOKEN_AUDIENCE"
ALERT_TENANT = "MAINTENANCE_ALERT_TOKEN_TENANT"
DEFAULT_ENTITIES = {
    "REQUESTS_QUEUE": "maintenance-requests",
    "OPERATIONS_QUEUE": "maintenance-operations",
    "COORDINATION_QUEUE": "maintenance-coordination",
    "EVENTS_TOPIC": "maintenance-events",
}


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
    alert_tokens: TokenRules | None = None

    def __post_init__(self) -> None:
        # An alert is cut to what this app may touch where it is read.
        object.__setattr__(self, "alerts", replace(self.alerts, scopes=self.allowed_scopes))

    def allows(self, scale_set: ScaleSet) -> bool:
        """Whether requests are allowed to name this scale set."""
        return any(scope.contains(scale_set) for scope in self.allowed_scopes)


def alerts_come_with_token(environment: Mapping[str, str]) -> bool:
    """Whether the worker itself checks who sends an alert, so that the host need not ask for a key."""
    return bool(environment.get(ALERT_AUDIENCE, "").strip())


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Read the settings. Raises SettingsError with every setting that is missing or invalid."""
    reader = _Reader(environment)
    cloud_name = reader.text("AZURE_CLOUD", "AzureCloud")
    cloud = {name.lower(): cloud for name, cloud in CLOUDS.items()}.get(cloud_name.lower())
    if cloud is None:
        reader.report("AZURE_CLOUD", f"must be one of {', '.join(CLOUDS)}", cloud_name)
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
        reader.report("MAINTENANCE_DEFAULT_POLL_INTERVAL", rule)
    views = reader.flag("MAINTENANCE_READ_INSTANCE_VIEWS", default=True)
    dry_run = reader.flag("MAINTENANCE_DRY_RUN", default=False)
    settings = Settings(
        service_bus=reader.service_bus(),
        allowed_scopes=reader.scopes("MAINTENANCE_ALLOWED_SCOPES"),
        requests_queue=reader.entity("REQUESTS_QUEUE", "maintenance-requests"),
        operations_queue=reader.entity("OPERATIONS_QUEUE", "maintenance-operations"),
        events_topic=reader.entity("EVENTS_TOPIC", "maintenance-events"),
        coordination_queue=reader.entity("COORDINATION_QUEUE", "maintenance-coordination"),
        arm_endpoint=reader.parsed("ARM_ENDPOINT", cloud.endpoint, _endpoint),
        token_scope=reader.parsed("ARM_TOKEN_SCOPE", cloud.token_scope, _token_scope),
        identity_client_id=reader.parsed("MAINTENANCE_IDENTITY_CLIENT_ID", "", _client_id) or None,
        default_deadline=reader.span("MAINTENANCE_DEFAULT_DEADLINE", timedelta(hours=6)),
        dry_run=dry_run,
        allow_whole_scale_set=reader.flag("MAINTENANCE_ALLOW_WHOLE_SCALE_SET", default=True),
        wait_for_lease=reader.choice("MAINTENANCE_SECOND_ROLLOUT", {"wait": True, "reject": False}, default="wait"),
        read_instance_views=views,
        timing=timing,
        tick_budget=reader.tick_budget("MAINTENANCE_TICK_BUDGET", timedelta(minutes=4)),
        poll_concurrency=reader.number("MAINTENANCE_POLL_CONCURRENCY", 400),
        poll_receivers=reader.number("MAINTENANCE_POLL_RECEIVERS", 4),
        receive_wait=reader.duration("MAINTENANCE_RECEIVE_WAIT", timedelta(seconds=1)),
        alerts=reader.alert_rules(views=views, dry_run=dry_run),
        alert_tokens=reader.alert_tokens(),
    )
    reader.check_entities("REQUESTS_QUEUE", "OPERATIONS_QUEUE", "COORDINATION_QUEUE", "EVENTS_TOPIC")
    reader.parsed("POLL_SCHEDULE", POLL_SCHEDULE, _schedule)
    reader.parsed("DEAD_LETTER_SCHEDULE", DEAD_LETTER_SCHEDULE, _schedule)
    reader.check_identity()
    reader.check_names()
    if reader.problems:
        raise SettingsError(tuple(reader.problems))
    return settings


class _Reader:
    """Reader of single settings that collects the problems it finds, and the names it was asked for."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        # The host reads these without regard to letter case, and Windows gives all names in capitals.
        prefix = PREFIXES[-1]
        self._of_connection = {name.upper(): text for name, text in environment.items() if _begins(name, prefix)}
        self._known: set[str] = set()
        self.problems: list[Problem] = []

    def report(self, name: str, rule: str, value: str | None = None) -> None:
        # What was put into the wrong place may be a secret.
        harmless = value is not None and not any(mark in value for mark in "@=;")
        self.problems.append(Problem(name, rule, redact(value or "")[:200] if harmless else None))

    def text(self, name: str, default: str) -> str:
        self._known.add(name)
        found = self._environment.get(name) or self._of_connection.get(name.upper()) or ""
        return found.strip() or default

    def parsed(self, name: str, default: str, parse: Callable[[str], str]) -> str:
        return self._read(name, default, parse)

    def entity(self, name: str, default: str) -> str:
        return self._read(name, default, _entity)

    def duration(self, name: str, default: timedelta) -> timedelta:
        return self._read(name, default, parse_duration)

    def span(self, name: str, default: timedelta) -> timedelta:
        return self._read(name, default, _span)

    def tick_budget(self, name: str, default: timedelta) -> timedelta:
        budget = self.span(name, default)
        if budget > LONGEST_TICK_BUDGET:
            self.report(name, "must be at most PT8M, since functionTimeout in host.json is 10 minutes")
        return budget

    def flag(self, name: str, *, default: bool) -> bool:
        return self._read(name, default, _flag)

    def choice(self, name: str, choices: Mapping[str, bool], *, default: str) -> bool:
        text = self.text(name, default).lower()
        if text not in choices:
            self.report(name, f"must be one of {', '.join(choices)}", text)
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
            self.report(name, str(error), text)
            return default

    def scopes(self, name: str) -> tuple[Scope, ...]:
        texts = split_scopes(self.text(name, ""))
        if not texts:
            rule = "is missing: list the subscriptions, resource groups or scale sets that requests are allowed to name"
            self.report(name, rule)
        scopes = []
        for text in texts:
            try:
                scopes.append(parse_scope(text))
            except ValueError as error:
                self.report(name, str(error), text)
        return tuple(scopes)

    def alert_rules(self, *, views: bool, dry_run: bool) -> AlertRules:
        # Waves are planned by instance views; without views all instances are maintained at once.
        default_rollout = CAREFUL_ROLLOUT if views else {}
        return AlertRules(
            rules=self._read("MAINTENANCE_ALERT_RULES", (), parse_names),
            custom_property=self.flag("MAINTENANCE_ALERT_CUSTOM_PROPERTY", default=False),
            services=self._read("MAINTENANCE_ALERT_SERVICES", SERVICES, parse_names),
            severities=self._read("MAINTENANCE_ALERT_SEVERITIES", (), parse_severities),
            regions=self._read("MAINTENANCE_ALERT_REGIONS", (), parse_names),
            rollout=self._read("MAINTENANCE_ALERT_ROLLOUT", default_rollout, parse_rollout),
            dry_run=self.flag("MAINTENANCE_ALERT_DRY_RUN", default=False) or dry_run,
        )

    def alert_tokens(self) -> TokenRules | None:
        audiences: tuple[str, ...] = self._read(ALERT_AUDIENCE, (), parse_names)
        tenant = self.parsed(ALERT_TENANT, "", _guid)
        callers: tuple[str, ...] = self._read("MAINTENANCE_ALERT_TOKEN_CALLERS", (ACTION_GROUPS,), _guids)
        rules = TokenRules(
            tenant=tenant,
            audiences=audiences,
            callers=callers,
            role=self.text("MAINTENANCE_ALERT_TOKEN_ROLE", WEBHOOK_ROLE),
            authority=self.parsed("MAINTENANCE_ALERT_TOKEN_AUTHORITY", LOGIN, _endpoint),
        )
        if audiences and not self.text(ALERT_TENANT, ""):
            self.report(ALERT_TENANT, f"is missing: with {ALERT_AUDIENCE}, the id of the tenant that issues the tokens")
        if self.text(ALERT_TENANT, "") and not self.text(ALERT_AUDIENCE, ""):
            self.report(ALERT_AUDIENCE, f"is missing: with {ALERT_TENANT}, the client id of the app registration")
        return rules if audiences and tenant else None

    def service_bus(self) -> ServiceBusConnection:
        connection_string = self.text(CONNECTION, "")
        namespace = self.parsed(NAMESPACE, "", _namespace)
        client_id = self.parsed(f"{CONNECTION}__clientId", "", _client_id) or None
        if self.text(f"{CONNECTION}__credential", "managedidentity").lower() != "managedidentity":
            self.report(f"{CONNECTION}__credential", "must be managedidentity, or not be set")
        if connection_string and self.text(NAMESPACE, ""):
            self.report(CONNECTION, f"must not be set together with {NAMESPACE}")
        elif connection_string:
            if rule := _connection_string_problem(connection_string):
                self.report(CONNECTION, rule)
        elif not self.text(NAMESPACE, ""):
            rule = "is missing: the namespace's host name, for example my-namespace.servicebus.windows.net"
            self.report(NAMESPACE, rule)
        return ServiceBusConnection(
            namespace=namespace or None, client_id=client_id, connection_string=connection_string or None
        )

    def check_entities(self, *names: str) -> None:
        """Each queue and topic is one of its own: what is meant for one must not come to another."""
        taken: dict[str, str] = {}
        for name in names:
            text = self.text(name, DEFAULT_ENTITIES[name])
            if other := taken.get(text.lower()):
                self.report(name, f"must differ from {other}", text)
            taken.setdefault(text.lower(), name)

    def check_identity(self) -> None:
        """The token endpoint's variables, which the host sets: an example's text may stand there instead."""
        endpoint = self.text("IDENTITY_ENDPOINT", "")
        if endpoint and (_split(endpoint) is None or not endpoint.lower().startswith(("http://", "https://"))):
            self.report("IDENTITY_ENDPOINT", "must be the URL of the token endpoint, or not be set")
        if endpoint and not self.text("IDENTITY_HEADER", "x").isprintable():
            self.report("IDENTITY_HEADER", "must be printable")

    def check_names(self) -> None:
        """Every setting that begins like one of ours must be one."""
        known = {_short(name): name for name in self._known}
        of_connection = {name.upper() for name in self._known}
        for name, text in self._environment.items():
            if not _begins(name, *PREFIXES) or name in self._known or not text.strip():
                continue
            if _begins(name, PREFIXES[-1]) and name.upper() in of_connection:
                continue
            close = difflib.get_close_matches(_short(name)[:100], known, n=1)
            hint = f"; did you mean {known[close[0]]}?" if close else ""
            self.report(name[:100], f"is not a setting of this app{hint}")


def _begins(name: str, *prefixes: str) -> bool:
    return name.upper().startswith(prefixes)


def _short(name: str) -> str:
    """The name without its prefix, which all have in common, for comparison."""
    return next((name.upper().removeprefix(each) for each in PREFIXES if _begins(name, each)), name.upper())


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


def _entity(text: str) -> str:
    if not _ENTITY.fullmatch(text):
        raise ValueError("must be the name of a queue or topic: letters, digits, '.', '-', '_', '~' or '/'")
    return text


def _client_id(text: str) -> str:
    if not GUID.fullmatch(text):
        raise ValueError("must be the client id of a user-assigned identity, a GUID; not its name or resource id")
    return text


def _guid(text: str) -> str:
    if not GUID.fullmatch(text):
        raise ValueError("must be a GUID with dashes")
    return text


def _guids(text: str) -> tuple[str, ...]:
    return tuple(_guid(name) for name in parse_names(text))


def _split(text: str) -> SplitResult | None:
    """The parts of a URL with a host and a valid port, or without one; None if it is malformed."""
    try:
        parts = urlsplit(text)
        malformed = not parts.hostname or not text.isprintable() or " " in text or parts.port == 0
    except ValueError:
        return None
    return None if malformed else parts


def _token_scope(text: str) -> str:
    parts = _split(text)
    if parts is None or parts.scheme not in ("https", "api") or "@" in parts.netloc or parts.query or parts.fragment:
        raise ValueError("must be a token scope, for example https://management.azure.com/.default")
    return text


def _namespace(text: str) -> str:
    """The host name of a namespace, also out of the URL that the portal and Bicep show."""
    if "=" in text or ";" in text:
        raise ValueError(f"must be the namespace's host name; a connection string belongs into {CONNECTION}")
    parts = _split(text if "://" in text else f"sb://{text}")
    host = "" if parts is None else parts.hostname or ""
    if (
        parts is None
        or parts.scheme.lower() not in ("https", "sb", "amqps")
        or "@" in parts.netloc
        or parts.port not in (None, 443, 5671)
        or parts.path.strip("/")
        or parts.query
        or parts.fragment
        or not _HOST.fullmatch(host)
    ):
        raise ValueError("must be the namespace's host name, for example my-namespace.servicebus.windows.net")
    return host


def _connection_string_problem(text: str) -> str | None:
    """Why this is no connection string of a namespace; None if it is. Repeats nothing of it."""
    if not text.lower().startswith("endpoint="):
        return f"must be a connection string, which starts with Endpoint=; a host name belongs into {NAMESPACE}"
    pairs: dict[str, str] = {}
    for part in text.strip("; ").split(";"):
        name, equals, value = part.partition("=")
        key = name.strip().lower()
        if not equals or not key.isalpha():
            return "must consist of names and values, Name=Value, separated by semicolons"
        if key in pairs:
            return "must name each of its parts once"
        pairs[key] = value.strip()
    endpoint = _split(pairs["endpoint"])
    if endpoint is None or endpoint.scheme.lower() != "sb" or endpoint.path.strip("/") or "@" in endpoint.netloc:
        return "must have an endpoint such as sb://my-namespace.servicebus.windows.net/"
    if "entitypath" in pairs:
        return "must be of the namespace, not of one queue or topic: its EntityPath must be left out"
    by_key = pairs.get("sharedaccesskeyname") and pairs.get("sharedaccesskey")
    if not by_key and not pairs.get("sharedaccesssignature"):
        return "must have both the name of a shared access key and the key"
    return None


def _schedule(text: str) -> str:
    """An NCRONTAB expression of six fields, as the host reads them. Raises ValueError with the reason."""
    fields = text.split()
    example = "for example */30 * * * * * for every 30 seconds"
    if len(fields) != len(_SCHEDULE):
        raise ValueError(f"must have six fields, the first of them the seconds: {example}")
    for field_text, (what, least, most, names) in zip(fields, _SCHEDULE, strict=True):
        for item in field_text.split(","):
            found = _SCHEDULE_ITEM.fullmatch(item)
            ends = [_ordinal(end, names) for end in (found[1], found[2]) if end] if found else []
            step = int(found[3]) if found and found[3] else 1
            if found is None or step < 1 or any(end is None or not least <= end <= most for end in ends):
                raise ValueError(f"has no valid {what} ({least} to {most}): {example}")
    return text


def _ordinal(text: str, names: tuple[str, ...]) -> int | None:
    if text.isdigit():
        return int(text)
    return names.index(text.upper()[:3]) + (len(names) == 12) if text.upper()[:3] in names else None


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
        raise ValueError(f"must consist of Sev0 to Sev4, not {redact(', '.join(invalid))[:200]}")
    return names


def parse_rollout(text: str) -> Mapping[str, Any]:
    """Parse the JSON of a request's `rollout`; returned unchanged. Raises ValueError with every problem."""
    from maintenance.domain.messages import Envelope  # noqa: PLC0415 - indexing must not import pydantic
    from maintenance.requests.schema import read_request  # noqa: PLC0415 - as above

    # Validated as part of a request, so that it accepts exactly what a request accepts.
    names = {"subscriptionId": str(UUID(int=0)), "resourceGroupName": "any", "vmScaleSetName": "any"}
    try:
        rollout = parse_json(text)
        read_request(Envelope(body=b""), {**names, "rollout": rollout})
    except InvalidRequest as error:
        raise ValueError("; ".join(f"{problem.field}: {problem.message}" for problem in error.problems)) from None
    except ValueError:
        raise ValueError('must be a JSON object, for example {"maxInstancesPerWave": "20%"}') from None
    return rollout or {}
