"""What went wrong with a call to ARM, said for the events: no response, a redirect, a permission that is missing."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import urlsplit

import httpx

from maintenance.arm.responses import ArmResponse
from maintenance.domain.errors import IdentityUnavailable, UntrustedUrl
from maintenance.domain.observations import ErrorDetail

# The codes of a 403 that a role would mend. Others are of a policy, a lock or a kind of subscription.
MISSING_ROLE = ("authorizationfailed", "linkedauthorizationfailed", "linkedaccesscheckfailed", "forbidden", "http403")
MAY_PERFORM = "Microsoft.Compute/virtualMachineScaleSets/performMaintenance/action"
MAY_READ_INSTANCES = "Microsoft.Compute/virtualMachineScaleSets/virtualMachines/read"
MAY_READ_SCALE_SETS = "Microsoft.Compute/virtualMachineScaleSets/read"
MAY_PERFORM_ON_VM = "Microsoft.Compute/virtualMachines/performMaintenance/action"
MAY_READ_VMS = "Microsoft.Compute/virtualMachines/read"
MAY_READ_OPERATIONS = "Microsoft.Compute/locations/operations/read"


def untrusted(error: UntrustedUrl) -> ErrorDetail:
    """An untrusted URL as an error for events."""
    return ErrorDetail("UntrustedUrl", str(error), target=error.host)


def redirected(response: ArmResponse) -> UntrustedUrl:
    """A redirect as an untrusted URL: it is not followed, since the token would be sent along."""
    try:
        host = urlsplit(response.headers.get("location", "")).hostname or "(no host)"
    except ValueError:
        host = "(unreadable)"
    return UntrustedUrl(host[:100], f"ARM responded with a redirect, HTTP {response.status}")


def without_response(error: Exception) -> ErrorDetail:
    """A call without a response, as an error for events."""
    if isinstance(error, IdentityUnavailable):
        return ErrorDetail("IdentityUnavailable", str(error))
    name = type(error).__name__
    return ErrorDetail(
        name if isinstance(error, httpx.HTTPError) else "Timeout", f"No response from ARM: {error or name}"
    )


def with_identity(error: ErrorDetail) -> ErrorDetail:
    message = f"{error.message} ARM does not accept the token of the app's managed identity."
    return replace(error, message=message)


def with_permission(error: ErrorDetail, permission: str, scope: str) -> ErrorDetail:
    if error.code.lower() not in MISSING_ROLE:
        return error
    message = f"{error.message} The app's managed identity needs the permission {permission} on {scope}."
    return replace(error, message=message)
