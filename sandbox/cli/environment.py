"""The variables a process must have to run the worker against the sandbox."""

from collections.abc import Mapping

from sandbox.resource_manager import EXAMPLE_SUBSCRIPTION_ID

FUNCTION_KEY = "SANDBOX_FUNCTION_KEY"
"""The key that opens the worker's HTTP functions; `python -m sandbox worker` takes it where it is set."""


def worker_environment(
    *, servicebus: str, arm_endpoint: str, identity: Mapping[str, str], function_key: str
) -> dict[str, str]:
    """The settings of the worker, pointed at the sandbox.

    Args:
        servicebus: the connection string.
        arm_endpoint: such as `http://127.0.0.1:8070`.
        identity: the variables of the token endpoint, as `ManagedIdentity.environment` has them.
        function_key: what opens the HTTP functions.
    """
    return {
        "ServiceBusConnection": servicebus,
        "REQUESTS_QUEUE": "maintenance-requests",
        "OPERATIONS_QUEUE": "maintenance-operations",
        "EVENTS_TOPIC": "maintenance-events",
        # The sandbox's maintenance takes seconds, not hours, and like Compute it names no time for the next poll.
        "POLL_SCHEDULE": "*/2 * * * * *",
        "MAINTENANCE_MIN_POLL_INTERVAL": "PT2S",
        "MAINTENANCE_DEFAULT_POLL_INTERVAL": "PT2S",
        # Here nothing is slow, no view lags and no clock differs.
        "MAINTENANCE_SETTLE_TIME": "PT20S",
        "MAINTENANCE_VIEW_LAG": "PT2S",
        "MAINTENANCE_LEASE_WAIT": "PT4S",
        "ARM_ENDPOINT": arm_endpoint,
        "MAINTENANCE_ALLOWED_SCOPES": f"/subscriptions/{EXAMPLE_SUBSCRIPTION_ID}",
        **identity,
        FUNCTION_KEY: function_key,
    }
