"""What a failure of Azure's means for the command: the exit code, and a sentence with what to do."""

from __future__ import annotations

from collections.abc import Iterator

from azure.core.exceptions import AzureError, ClientAuthenticationError
from azure.servicebus.exceptions import (
    MessagingEntityDisabledError,
    MessagingEntityNotFoundError,
    ServiceBusAuthenticationError,
    ServiceBusAuthorizationError,
)

from maintenance.domain.errors import ArmError, BusUnavailable, EntityMissing
from maintenance.domain.redaction import redact
from maintenance.servicebus.connection import SDK_ERRORS
from maintenance_cli.exits import Code, Ended
from maintenance_cli.picture.messages import Entity, Unknown

FAILURES = (*SDK_ERRORS, BusUnavailable, ArmError)
LOGIN = "Log in with `az login`, or check the identity of this process."
_DENIED = (ClientAuthenticationError, ServiceBusAuthenticationError, ServiceBusAuthorizationError)

_REFUSED_TOKEN = ("TokenAuthFailure", "AuthenticationException")


def of_entity(error: BaseException, entity: Entity) -> Unknown:
    """Why an entity could not be read."""
    if isinstance(error, (MessagingEntityNotFoundError, EntityMissing)):
        return Unknown(entity, f"there is no {entity}", Code.NOT_FOUND)
    if isinstance(error, MessagingEntityDisabledError):
        return Unknown(entity, f"{entity} is disabled", Code.ERROR)
    if (
        missing := next((each for each in _chain(error) if isinstance(each, ClientAuthenticationError)), None)
    ) is not None:
        return Unknown(entity, f"no token for Service Bus: {_first_line(missing)} {LOGIN}", Code.DENIED)
    if _is_denied(error):
        return Unknown(
            entity,
            f"Service Bus does not let you read {entity}; that takes the role Azure Service Bus Data Receiver. {LOGIN}",
            Code.DENIED,
        )
    if isinstance(error, TimeoutError):
        return Unknown(entity, f"Service Bus did not respond in time, reading {entity}", Code.UNREACHABLE)
    return Unknown(entity, f"Service Bus cannot be reached: {_first_line(error)}", Code.UNREACHABLE)


def ended(error: BaseException) -> Ended:
    """A failure that ends the command."""
    if isinstance(error, ArmError):
        return Ended(code_of_arm(error), str(ArmText(error)))
    if _is_denied(error):
        return Ended(Code.DENIED, f"Service Bus refuses: {_first_line(error)} {LOGIN}")
    if isinstance(error, EntityMissing):
        return Ended(Code.NOT_FOUND, str(error))
    if isinstance(error, TimeoutError):
        return Ended(Code.UNREACHABLE, "Azure did not respond in time.")
    return Ended(Code.UNREACHABLE, f"Azure cannot be reached: {_first_line(error)}")


def _is_denied(error: BaseException) -> bool:
    """Whether the login is refused. The SDK says of a token that Service Bus does not take that the connection failed,
    and only the cause says why."""
    return any(isinstance(each, _DENIED) or type(each).__name__ in _REFUSED_TOKEN for each in _chain(error))


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and its causes."""
    found: BaseException | None = error
    for _ in range(10):
        if found is None:
            return
        yield found
        found = found.__cause__ or found.__context__


def code_of_arm(error: ArmError) -> Code:
    """The exit code for a call to Resource Manager that failed."""
    if error.status in (401, 403) or error.error.code == "IdentityUnavailable":
        return Code.DENIED
    if error.status == 404:
        return Code.NOT_FOUND
    if error.status is None or error.status >= 429:
        return Code.UNREACHABLE
    return Code.ERROR


class ArmText:
    """What ARM said, for a person at a terminal: the worker's own texts speak of the app's managed identity."""

    def __init__(self, error: ArmError) -> None:
        self._error = error

    def __str__(self) -> str:
        error = self._error
        text = redact(error.error.message).replace("The app's managed identity needs", "You need")
        text = text.replace("ARM does not accept the token of the app's managed identity.", "ARM refuses your token.")
        text = text.replace("No token for the managed identity", "No token")
        status = "" if error.status is None else f" (HTTP {error.status})"
        advice = f" {LOGIN}" if code_of_arm(error) is Code.DENIED else ""
        return f"Cannot {error.doing}{status}: {error.error.code}: {text}{advice}"


def _first_line(error: BaseException) -> str:
    text = redact(str(error).strip().partition("\n")[0])[:300].strip()
    name = type(error).__name__
    if not text or isinstance(error, AttributeError):
        return f"{name}."
    return text if isinstance(error, AzureError) else f"{name}: {text}"
