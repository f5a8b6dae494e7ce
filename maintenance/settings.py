"""App settings, read from environment variables and validated all at once.

What nobody reads is refused too where its name is one of ours: a misspelt `MAINTENANCE_DRY_RUN` would restart VMs. No
problem repeats a secret, wherever it was put.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta

from maintenance.alerts.rules import CAREFUL_ROLLOUT, SERVICES, AlertRules
from maintenance.alerts.token_rules import ACTION_GROUPS, LOGIN, WEBHOOK_ROLE, TokenRules
from maintenance.configuration import texts
from maintenance.configuration.calendars import parse_blackouts, parse_windows
from maintenance.configuration.limits import parse_limits
from maintenance.configuration.reader import SettingsReader
from maintenance.configuration.schedules import schedule
from maintenance.configuration.texts import CONNECTION, NAMESPACE
from maintenance.domain.calendars import Window
from maintenance.domain.errors import SettingsError
from maintenance.domain.resources import ScaleSet, Scope
from maintenance.lifecycle.rules import Rules, Timing
from maintenance.policies.calendar import Calendar
from maintenance.policies.limits import Limits
from maintenance.scan.decisions import Mode, ScanPolicy

POLL_SCHEDULE = "*/30 * * * * *"
DEAD_LETTER_SCHEDULE = "15 */5 * * * *"
# Once a day, at night in most of Europe, and not when everybody else's timers fire.
SCAN_SCHEDULE = "37 23 2 * * *"
# `functionTimeout` of host.json: the host then ends the process, with all that it is doing. A tick takes new work for
# its budget, and then finishes what it has begun.
FUNCTION_TIMEOUT = timedelta(minutes=10)
LONGEST_TICK_BUDGET = timedelta(minutes=8)
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
    calendar: Calendar = field(default_factory=Calendar)
    paused: bool = False
    limits: Limits = field(default_factory=Limits)
    tags: bool = False
    alerts: AlertRules = field(default_factory=AlertRules)
    alert_tokens: TokenRules | None = None
    scan_mode: Mode = "report"

    def __post_init__(self) -> None:
        # An alert is cut to what this app may touch where it is read.
        object.__setattr__(self, "alerts", replace(self.alerts, scopes=self.allowed_scopes))

    def allows(self, scale_set: ScaleSet) -> bool:
        """Whether requests are allowed to name this scale set."""
        return any(scope.contains(scale_set) for scope in self.allowed_scopes)

    @property
    def scan(self) -> ScanPolicy:
        """How a scan decides under these settings."""
        return ScanPolicy(mode=self.scan_mode, calendar=self.calendar, paused=self.paused, alerts=self.alerts)

    @property
    def rules(self) -> Rules:
        """How runs proceed under these settings."""
        return Rules(
            allowed_scopes=self.allowed_scopes,
            timing=self.timing,
            views=self.read_instance_views,
            wait_for_lease=self.wait_for_lease,
            calendar=self.calendar,
            paused=self.paused,
            limits=self.limits,
            tags=self.tags,
        )


def alerts_come_with_token(environment: Mapping[str, str]) -> bool:
    """Whether the worker itself checks who sends an alert, so that the host need not ask for a key."""
    return bool(environment.get(ALERT_AUDIENCE, "").strip())


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Read the settings. Raises SettingsError with every setting that is missing or invalid."""
    reader = SettingsReader(environment)
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
        service_bus=_service_bus(reader),
        allowed_scopes=reader.scopes("MAINTENANCE_ALLOWED_SCOPES"),
        requests_queue=reader.entity("REQUESTS_QUEUE", DEFAULT_ENTITIES["REQUESTS_QUEUE"]),
        operations_queue=reader.entity("OPERATIONS_QUEUE", DEFAULT_ENTITIES["OPERATIONS_QUEUE"]),
        events_topic=reader.entity("EVENTS_TOPIC", DEFAULT_ENTITIES["EVENTS_TOPIC"]),
        coordination_queue=reader.entity("COORDINATION_QUEUE", DEFAULT_ENTITIES["COORDINATION_QUEUE"]),
        arm_endpoint=reader.parsed("ARM_ENDPOINT", cloud.endpoint, texts.endpoint),
        token_scope=reader.parsed("ARM_TOKEN_SCOPE", cloud.token_scope, texts.token_scope),
        identity_client_id=reader.parsed("MAINTENANCE_IDENTITY_CLIENT_ID", "", texts.client_id) or None,
        default_deadline=reader.read("MAINTENANCE_DEFAULT_DEADLINE", timedelta(hours=6), texts.deadline),
        dry_run=dry_run,
        allow_whole_scale_set=reader.flag("MAINTENANCE_ALLOW_WHOLE_SCALE_SET", default=True),
        wait_for_lease=reader.choice("MAINTENANCE_SECOND_ROLLOUT", {"wait": True, "reject": False}, default="wait"),
        read_instance_views=views,
        timing=timing,
        tick_budget=reader.read("MAINTENANCE_TICK_BUDGET", timedelta(minutes=4), _tick_budget),
        poll_concurrency=reader.number("MAINTENANCE_POLL_CONCURRENCY", 400),
        poll_receivers=reader.number("MAINTENANCE_POLL_RECEIVERS", 4),
        receive_wait=reader.read("MAINTENANCE_RECEIVE_WAIT", timedelta(seconds=1), texts.receive_wait),
        calendar=_calendar(reader),
        limits=_limits(reader, views=views),
        paused=reader.flag("MAINTENANCE_PAUSED", default=False),
        tags=_tags(reader, views=views),
        alerts=_alert_rules(reader, views=views, dry_run=dry_run),
        alert_tokens=_alert_tokens(reader),
        scan_mode=_scan_mode(reader, views=views),
    )
    reader.check_entities(DEFAULT_ENTITIES)
    reader.parsed("POLL_SCHEDULE", POLL_SCHEDULE, schedule)
    reader.parsed("DEAD_LETTER_SCHEDULE", DEAD_LETTER_SCHEDULE, schedule)
    reader.parsed("SCAN_SCHEDULE", SCAN_SCHEDULE, schedule)
    reader.check_identity()
    reader.check_names()
    if reader.problems:
        raise SettingsError(tuple(reader.problems))
    return settings


def _calendar(reader: SettingsReader) -> Calendar:
    windows: tuple[Window, ...] = reader.read("MAINTENANCE_WINDOWS", (), parse_windows)
    return Calendar((windows,) if windows else (), reader.read("MAINTENANCE_BLACKOUTS", (), parse_blackouts))


def _limits(reader: SettingsReader, *, views: bool) -> Limits:
    limits = reader.read("MAINTENANCE_LIMITS", Limits(), parse_limits)
    counts = limits.instances is not None or limits.instances_per_scale_set is not None or limits.per == "region"
    if counts and not views:
        rule = "needs instance views for regions and numbers of instances; MAINTENANCE_READ_INSTANCE_VIEWS is false"
        reader.report("MAINTENANCE_LIMITS", rule)
    return limits


def _tags(reader: SettingsReader, *, views: bool) -> bool:
    tags = reader.flag("MAINTENANCE_TAGS", default=False)
    if tags and not views:
        # The rollout of a tag is kept to by what the views show.
        reader.report("MAINTENANCE_TAGS", "needs instance views, and MAINTENANCE_READ_INSTANCE_VIEWS is false", "true")
    return tags


def _scan_mode(reader: SettingsReader, *, views: bool) -> Mode:
    modes: dict[str, Mode] = {"off": "off", "report": "report", "request": "request"}
    mode = reader.choice("MAINTENANCE_SCAN", modes, default="report" if views else "off")
    if mode != "off" and not views:
        reader.report("MAINTENANCE_SCAN", "needs instance views, and MAINTENANCE_READ_INSTANCE_VIEWS is false", mode)
    return mode


def _alert_rules(reader: SettingsReader, *, views: bool, dry_run: bool) -> AlertRules:
    # Waves are planned by instance views; without views all instances are maintained at once.
    default_rollout = CAREFUL_ROLLOUT if views else {}
    return AlertRules(
        rules=reader.read("MAINTENANCE_ALERT_RULES", (), texts.parse_names),
        custom_property=reader.flag("MAINTENANCE_ALERT_CUSTOM_PROPERTY", default=False),
        services=reader.read("MAINTENANCE_ALERT_SERVICES", SERVICES, texts.parse_names),
        severities=reader.read("MAINTENANCE_ALERT_SEVERITIES", (), texts.parse_severities),
        regions=reader.read("MAINTENANCE_ALERT_REGIONS", (), texts.parse_names),
        rollout=reader.read("MAINTENANCE_ALERT_ROLLOUT", default_rollout, texts.parse_rollout),
        dry_run=reader.flag("MAINTENANCE_ALERT_DRY_RUN", default=False) or dry_run,
    )


def _alert_tokens(reader: SettingsReader) -> TokenRules | None:
    audiences: tuple[str, ...] = reader.read(ALERT_AUDIENCE, (), texts.parse_names)
    tenant = reader.parsed(ALERT_TENANT, "", texts.guid)
    callers: tuple[str, ...] = reader.read("MAINTENANCE_ALERT_TOKEN_CALLERS", (ACTION_GROUPS,), texts.guids)
    rules = TokenRules(
        tenant=tenant,
        audiences=audiences,
        callers=callers,
        role=reader.text("MAINTENANCE_ALERT_TOKEN_ROLE", WEBHOOK_ROLE),
        authority=reader.parsed("MAINTENANCE_ALERT_TOKEN_AUTHORITY", LOGIN, texts.endpoint),
    )
    if audiences and not reader.text(ALERT_TENANT, ""):
        reader.report(ALERT_TENANT, f"is missing: with {ALERT_AUDIENCE}, the id of the tenant that issues the tokens")
    if reader.text(ALERT_TENANT, "") and not reader.text(ALERT_AUDIENCE, ""):
        reader.report(ALERT_AUDIENCE, f"is missing: with {ALERT_TENANT}, the client id of the app registration")
    return rules if audiences and tenant else None


def _service_bus(reader: SettingsReader) -> ServiceBusConnection:
    connection_string = reader.text(CONNECTION, "")
    namespace = reader.parsed(NAMESPACE, "", texts.namespace)
    client_id = reader.parsed(f"{CONNECTION}__clientId", "", texts.client_id) or None
    if reader.text(f"{CONNECTION}__credential", "managedidentity").lower() != "managedidentity":
        reader.report(f"{CONNECTION}__credential", "must be managedidentity, or not be set")
    if connection_string and reader.text(NAMESPACE, ""):
        reader.report(CONNECTION, f"must not be set together with {NAMESPACE}")
    elif connection_string:
        if rule := texts.connection_string_problem(connection_string):
            reader.report(CONNECTION, rule)
    elif not reader.text(NAMESPACE, ""):
        rule = "is missing: the namespace's host name, for example my-namespace.servicebus.windows.net"
        reader.report(NAMESPACE, rule)
    return ServiceBusConnection(
        namespace=namespace or None, client_id=client_id, connection_string=connection_string or None
    )


def _tick_budget(text: str) -> timedelta:
    budget = texts.span(text)
    if budget > LONGEST_TICK_BUDGET:
        raise ValueError("must be at most PT8M, since functionTimeout in host.json is 10 minutes")
    return budget
