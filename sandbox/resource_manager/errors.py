"""Error responses of Azure Resource Manager and Microsoft.Compute, with their codes and texts.

Where a text or code was seen in public (recorded traffic, issue reports) it is used as it is. What nobody has
documented is marked so: a client must not rely on it, here or in Azure.
"""

from __future__ import annotations

from typing import Any


class ArmError(Exception):
    """An error response: HTTP status, headers and the content of the error body."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        target: str | None = None,
        details: tuple[dict[str, Any], ...] = (),
        *,
        headers: dict[str, str] | None = None,
        enveloped: bool = True,
    ) -> None:
        """`enveloped`: whether the error stands under `error`, as everywhere but in Compute's throttling."""
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.target = target
        self.details = details
        self.headers = headers or {}
        self.enveloped = enveloped

    @property
    def body(self) -> dict[str, Any]:
        """`{error: {code, message, target?, details?}}`, or the inner object alone."""
        error: dict[str, Any] = {"code": self.code, "message": self.message}
        if self.target is not None:
            error["target"] = self.target
        if self.details:
            error["details"] = list(self.details)
        return {"error": error} if self.enveloped else error


_CHALLENGE = (
    'Bearer authorization_uri="https://login.microsoftonline.com/00000000-0000-0000-0000-000000000000", '
    'error="invalid_token", error_description="{}"'
)


def no_token() -> ArmError:
    text = "Authentication failed. The 'Authorization' header is missing."
    return ArmError(401, "AuthenticationFailed", text, headers={"WWW-Authenticate": _CHALLENGE.format(text)})


def token_not_accepted() -> ArmError:
    # ARM distinguishes expired and wrong-audience tokens by further codes; a client treats them all alike.
    text = "The access token is invalid."
    return ArmError(401, "InvalidAuthenticationToken", text, headers={"WWW-Authenticate": _CHALLENGE.format(text)})


def no_api_version() -> ArmError:
    return ArmError(
        400,
        "MissingApiVersionParameter",
        "The api-version query parameter (?api-version=) is required for all requests.",
    )


def api_version_unknown(version: str, known: tuple[str, ...]) -> ArmError:
    return ArmError(
        400,
        "InvalidApiVersionParameter",
        f"The api-version '{version}' is invalid. The supported versions are '{','.join(known)}'.",
    )


def bad_subscription(subscription_id: str) -> ArmError:
    return ArmError(
        400,
        "InvalidSubscriptionId",
        f"The provided subscription identifier '{subscription_id}' is malformed or invalid.",
    )


def no_subscription(subscription_id: str) -> ArmError:
    return ArmError(404, "SubscriptionNotFound", f"The subscription '{subscription_id}' could not be found.")


def no_resource_group(name: str) -> ArmError:
    return ArmError(404, "ResourceGroupNotFound", f"Resource group '{name}' could not be found.")


def no_resource(kind: str, name: str, resource_group: str) -> ArmError:
    return ArmError(
        404,
        "ResourceNotFound",
        f"The Resource 'Microsoft.Compute/{kind}/{name}' under resource group '{resource_group}' "
        "was not found. For more details please go to https://aka.ms/ARMResourceNotFoundFix",
    )


def no_such_path(path: str) -> ArmError:
    return ArmError(404, "InvalidResourceType", f"The resource type could not be found for the path '{path}'.")


def method_not_allowed(method: str) -> ArmError:
    return ArmError(405, "HttpMethodNotAllowed", f"The requested resource does not support http method '{method}'.")


def bad_body(message: str) -> ArmError:
    return ArmError(400, "InvalidRequestContent", f"The request content was invalid: {message}")


def bad_parameter(target: str, message: str) -> ArmError:
    return ArmError(400, "InvalidParameter", message, target)


def no_instance(instance_id: str, status: int = 400) -> ArmError:
    # Seen for other calls on instances (reimage, update); for performMaintenance it is undocumented, and so is
    # whether it may be a 404.
    return ArmError(
        status,
        "InvalidParameter" if status == 400 else "NotFound",
        f"The provided instanceId {instance_id} is not an active Virtual Machine Scale Set VM instanceId.",
        "instanceIds",
    )


def instance_id_not_a_number() -> ArmError:
    return ArmError(400, "InvalidParameter", "Virtual Machine Scale Set VM instanceId must be a number.", "instanceId")


def not_eligible(vm_name: str) -> ArmError:
    # The recorded text. It speaks of the subscription whatever the reason is: nothing planned, done already,
    # or the window has closed.
    return ArmError(
        409,
        "OperationNotAllowed",
        f"Operation 'performMaintenance' is not allowed on VM '{vm_name}' "
        "since the Subscription of this VM is not eligible.",
    )


def in_progress() -> ArmError:
    # What a second performMaintenance on an instance under maintenance gets is undocumented.
    # This is the response of Compute to concurrent writes to one resource.
    return ArmError(
        409,
        "Conflict",
        "The request failed due to conflict with a concurrent request. To resolve it, please refer to "
        "https://aka.ms/activitylog to get more details on the conflicting requests.",
    )


def not_for_flexible(operation: str, scale_set_name: str) -> ArmError:
    # Seen for `virtualMachines.GET` with an instance view and for `instanceView.GET`; for performMaintenance the
    # text is undocumented.
    return ArmError(
        400,
        "BadRequest",
        f"Operation 'VirtualMachineScaleSets.{operation}' is not allowed on Virtual Machine Scale Set "
        f"'{scale_set_name}'.",
    )


def no_operation(operation_id: str) -> ArmError:
    # How long operations can be read is undocumented, and so is what comes after.
    return ArmError(404, "NotFound", f"The operation '{operation_id}' could not be found.")


def operation_url_altered() -> ArmError:
    # Undocumented: but the URL is signed, and not sent back verbatim it does not verify.
    return ArmError(403, "AuthorizationFailed", "The signature of the operation's URL could not be verified.")
