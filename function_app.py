"""Azure Functions app: three triggers, each of which calls the worker."""

import os

import azure.functions as func

from maintenance.configuration.texts import CONNECTION
from maintenance.settings import (
    DEAD_LETTER_SCHEDULE,
    POLL_SCHEDULE,
    SCAN_SCHEDULE,
    alerts_come_with_token,
    read_settings,
)

app = func.FunctionApp()


def _setting(name: str, default: str) -> str:
    # The host resolves %NAME% and stops if the setting is missing, so a default must be written out.
    return f"%{name}%" if os.environ.get(name) else default


def _trace_parent(context: func.Context) -> str | None:
    """The host's span, to which this invocation belongs."""
    return context.trace_context.trace_parent if context.trace_context is not None else None


# A connected app with invalid settings must not receive messages: each would fail ten times and be dead-lettered.
if any(name.startswith(CONNECTION) for name in os.environ):
    read_settings(os.environ)


@app.function_name("receive_request")
@app.service_bus_queue_trigger(
    arg_name="message",
    queue_name=_setting("REQUESTS_QUEUE", "maintenance-requests"),
    connection=CONNECTION,
    # As text, the host would replace invalid UTF-8, and the worker would read a request that nobody sent.
    data_type=func.DataType.BINARY,
)
async def receive_request(message: func.ServiceBusMessage, context: func.Context) -> None:
    """Handle a message of the requests queue."""
    from maintenance.worker import worker  # noqa: PLC0415 - indexing must not import the clients

    await worker().receive(message, _trace_parent(context))


@app.function_name("receive_alert")
@app.route(
    route="alerts",
    methods=["POST"],
    # An action group that signs in has no key. The worker then checks its token.
    auth_level=func.AuthLevel.ANONYMOUS if alerts_come_with_token(os.environ) else func.AuthLevel.FUNCTION,
)
async def receive_alert(req: func.HttpRequest) -> func.HttpResponse:
    """Handle an alert that an action group of Azure Monitor sends."""
    from maintenance.worker import worker  # noqa: PLC0415 - as above

    return await worker().receive_alert(req)


@app.function_name("poll_operations")
@app.timer_trigger(
    arg_name="timer", schedule=_setting("POLL_SCHEDULE", POLL_SCHEDULE), run_on_startup=False, use_monitor=False
)
async def poll_operations(timer: func.TimerRequest, context: func.Context) -> None:
    """Run the operations that are due."""
    from maintenance.worker import worker  # noqa: PLC0415 - as above

    await worker().poll(_trace_parent(context))


@app.function_name("read_dead_letters")
@app.timer_trigger(
    arg_name="timer",
    schedule=_setting("DEAD_LETTER_SCHEDULE", DEAD_LETTER_SCHEDULE),
    run_on_startup=False,
    use_monitor=False,
)
async def read_dead_letters(timer: func.TimerRequest) -> None:
    """What Service Bus gave up delivering: each ends as an event."""
    from maintenance.worker import worker  # noqa: PLC0415 - as above

    await worker().read_dead_letters()


@app.function_name("scan_scale_sets")
@app.timer_trigger(
    # Monitored: a scan that was due while the app was down is made up for.
    arg_name="timer",
    schedule=_setting("SCAN_SCHEDULE", SCAN_SCHEDULE),
    run_on_startup=False,
    use_monitor=True,
)
async def scan_scale_sets(timer: func.TimerRequest) -> None:
    """Begin the scan for scale sets that may be maintained."""
    from maintenance.worker import worker  # noqa: PLC0415 - as above

    await worker().scan()
