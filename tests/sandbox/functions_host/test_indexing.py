"""What the host makes of an app's decorators, and what it rejects."""

import textwrap
import typing
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import azure.functions as func
import pytest

from sandbox.functions_host import FunctionsHost, IndexedFunction, IndexingError, load_app
from sandbox.functions_host.indexing import index_functions
from sandbox.functions_host.triggers import HttpTrigger, ServiceBusTrigger, TimerTrigger

CONNECTION_STRING = "Endpoint=sb://127.0.0.1;SharedAccessKeyName=a;SharedAccessKey=very-secret"
SETTINGS = {"QUEUE": "requests", "EVERY": "*/5 * * * * *", "Bus": CONNECTION_STRING}

Register = Callable[[func.FunctionApp], object]


def index(*register: Register, environment: dict[str, str] | None = None) -> tuple[IndexedFunction, ...]:
    app = func.FunctionApp(http_auth_level=func.AuthLevel.FUNCTION)
    # Without an HTTP function azure-functions logs through the root logger that the auth level is of no use.
    app.route("status")(status)
    for one in register:
        one(app)
    return index_functions(app, SETTINGS if environment is None else environment)[1:]


def status(req: func.HttpRequest) -> str:
    return "ok"


async def receive(message: func.ServiceBusMessage) -> None: ...


def tick(timer: func.TimerRequest, context: func.Context) -> None: ...


def queue(app: func.FunctionApp) -> None:
    app.service_bus_queue_trigger("message", connection="Bus", queue_name="%QUEUE%")(receive)


def timer(app: func.FunctionApp) -> None:
    app.timer_trigger(arg_name="timer", schedule="%EVERY%", run_on_startup=True)(tick)


def test_a_queue_trigger_gets_its_settings_put_in() -> None:
    (function,) = index(queue)
    trigger = function.trigger
    assert isinstance(trigger, ServiceBusTrigger)
    assert (function.name, function.parameter, function.is_async, function.wants_context) == (
        "receive",
        "message",
        True,
        False,
    )
    assert (trigger.queue, trigger.entity, trigger.binary) == ("requests", "requests", False)
    assert trigger.connection.connection_string == CONNECTION_STRING
    assert "very-secret" not in repr(function)


def test_a_subscription_trigger_by_identity() -> None:
    def subscription(app: func.FunctionApp) -> None:
        app.service_bus_topic_trigger(
            "message",
            connection="Bus",
            topic_name="%TOPIC%",
            subscription_name="mine",
            data_type=func.DataType.BINARY,
            auto_complete_messages=False,
        )(receive)

    (function,) = index(
        subscription,
        environment={
            "TOPIC": "events",
            "Bus__fullyQualifiedNamespace": "x.servicebus.windows.net",
            "Bus__clientId": "me",
            "Bus__credential": "managedidentity",
        },
    )
    trigger = function.trigger
    assert isinstance(trigger, ServiceBusTrigger)
    assert (trigger.queue, trigger.entity) == (None, "events/mine")
    assert (trigger.binary, trigger.auto_complete) == (True, False)
    assert trigger.connection.namespace == "x.servicebus.windows.net"
    assert (trigger.connection.client_id, trigger.connection.managed_identity) == ("me", True)


def test_a_timer_trigger_with_a_context() -> None:
    (function,) = index(timer)
    trigger = function.trigger
    assert isinstance(trigger, TimerTrigger)
    assert (function.is_async, function.wants_context, trigger.run_on_startup) == (False, True, True)
    moment = datetime(2024, 5, 1, 10, 0, 1, tzinfo=UTC)
    assert trigger.schedule.next_after(moment) == moment + timedelta(seconds=4)


def test_an_http_trigger_takes_the_level_of_the_app() -> None:
    def routes(app: func.FunctionApp) -> None:
        app.function_name("open")(app.route("open/{id}", methods=["post"], auth_level=func.AuthLevel.ANONYMOUS)(status))

    app = func.FunctionApp(http_auth_level=func.AuthLevel.FUNCTION)
    app.route("status")(status)
    routes(app)
    closed, opened = index_functions(app, {})
    assert str(opened.trigger) == "HTTP calls of open/{id} (POST)"
    assert closed.trigger == HttpTrigger(route="status", methods=None, needs_key=True)
    assert opened.trigger == HttpTrigger(route="open/{id}", methods=frozenset({"POST"}), needs_key=False)
    assert opened.name == "open"
    assert opened.returns


def test_every_missing_setting_is_named_at_once() -> None:
    with pytest.raises(IndexingError) as failed:
        index(queue, timer, environment={"EVERY": ""})
    text = str(failed.value)
    assert "receive: queue_name names the setting QUEUE, which is missing" in text
    assert "tick: schedule names the setting EVERY, which is missing or empty" in text
    assert "receive: connection names Bus, but neither" in text
    assert "Bus__fullyQualifiedNamespace" in text


def test_a_wrong_schedule_is_quoted() -> None:
    with pytest.raises(IndexingError, match=r"tick: schedule: 'every day' has 2 fields"):
        index(timer, environment={"EVERY": "every day"})


def many(messages: list[func.ServiceBusMessage]) -> None: ...
def many_typing(messages: typing.List[func.ServiceBusMessage]) -> None: ...  # noqa: UP006 - it is the point
def maybe(messages: func.ServiceBusMessage | None) -> None: ...
def wrong(messages: func.TimerRequest) -> None: ...
def unbound(messages: func.ServiceBusMessage, more: str) -> None: ...
def misnamed(message: func.ServiceBusMessage) -> None: ...
def bad_context(messages: func.ServiceBusMessage, context: str) -> None: ...


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (many, r"binding messages has invalid non-type annotation list\[.*typing\.List"),
        (maybe, "binding messages has invalid non-type annotation"),
        (wrong, 'type of messages binding "serviceBusTrigger" does not match its Python annotation'),
        (unbound, "declared in Python but bound by no decorator: more"),
        (misnamed, "bound by a decorator but missing in Python: messages"),
        (bad_context, '"context" must be annotated azure.functions.Context'),
    ],
)
def test_what_the_real_worker_rejects_is_an_error(function: Callable[..., None], reason: str) -> None:
    with pytest.raises(IndexingError, match=rf"(?m)^{function.__name__}: .*{reason}"):
        index(lambda app: app.service_bus_queue_trigger("messages", connection="Bus", queue_name="q")(function))


def test_what_the_real_worker_takes_is_taken() -> None:
    (function,) = index(
        lambda app: app.service_bus_queue_trigger("messages", connection="Bus", queue_name="q")(many_typing)
    )
    assert function.parameter == "messages"


def test_unsupported_bindings_are_errors() -> None:
    def batch(app: func.FunctionApp) -> None:
        app.service_bus_queue_trigger(
            "messages",
            connection="Bus",
            queue_name="q",
            cardinality=func.Cardinality.MANY,
            is_sessions_enabled=True,
        )(many_typing)

    def blob(app: func.FunctionApp) -> None:
        app.blob_trigger("message", path="path", connection="Bus")(misnamed)

    with pytest.raises(IndexingError) as failed:
        index(batch, blob)
    assert [line.split(" ")[1] for line in str(failed.value).splitlines()] == [
        "cardinality",
        "is_sessions_enabled",
        "triggers",
        "type",
    ]


def test_host_rejects_an_app_when_it_is_constructed() -> None:
    app = func.FunctionApp()
    app.route("status")(status)
    queue(app)
    with pytest.raises(IndexingError, match="QUEUE"):
        FunctionsHost(app, environment={})


def test_an_app_is_loaded_from_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.path", ["before"])
    monkeypatch.setattr("sys.modules", dict(__import__("sys").modules))
    (tmp_path / "beside_it.py").write_text("ROUTE = 'found'")
    (tmp_path / "function_app.py").write_text(
        textwrap.dedent(
            """
            import azure.functions as func
            from beside_it import ROUTE
            app = func.FunctionApp()
            @app.route(ROUTE)
            def answer(req: func.HttpRequest) -> str:
                return "yes"
            """
        )
    )
    (function,) = index_functions(load_app(tmp_path), {})
    assert isinstance(function.trigger, HttpTrigger)
    assert function.trigger.route == "found"
    assert function.folder == tmp_path


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (None, "no function_app.py"),
        ("x = 1", "makes 0 FunctionApps"),
        ("raise ValueError('SCOPES is missing')", r"ValueError: SCOPES is missing .*function_app\.py:1"),
    ],
)
def test_folder_without_an_app_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str | None, reason: str
) -> None:
    monkeypatch.setattr("sys.path", [])
    monkeypatch.setattr("sys.modules", dict(__import__("sys").modules))
    if source is not None:
        (tmp_path / "function_app.py").write_text(source)
    with pytest.raises(IndexingError, match=reason):
        load_app(tmp_path)
