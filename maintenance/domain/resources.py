"""Names and ids of Azure resources: parse, validate, compare, format.

The letter case of ARM ids differs between fields, so ids are compared without it and stored as first read. Only ASCII
letters are folded: to `str.lower`, the Kelvin sign is a k, and would lead into another resource group.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

GUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE | re.ASCII)
# Resource group names consist of Unicode letters, digits and -_.(), and do not end in a dot; the length is ARM's limit.
RESOURCE_GROUP = re.compile(r"[\w\-.()]{0,89}[\w\-()]")
SCALE_SET = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.\-]{0,62}[A-Za-z0-9_])?", re.ASCII)
INSTANCE = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.\-]{0,78}[A-Za-z0-9_])?", re.ASCII)
SCALE_SET_ID_FORM = (
    "/subscriptions/{subscriptionId}/resourceGroups/{resourceGroupName}"
    "/providers/Microsoft.Compute/virtualMachineScaleSets/{vmScaleSetName}"
)
_FOLDED = {code: code + 32 for code in range(ord("A"), ord("Z") + 1)}


def fold(name: str) -> str:
    """`name` for comparison: its ASCII letters in lower case, everything else as it stands."""
    return name.lower() if name.isascii() else name.translate(_FOLDED)


@dataclass(frozen=True, slots=True)
class ScaleSet:
    """VM scale set, identified by subscription, resource group and name."""

    subscription_id: str
    resource_group_name: str
    name: str

    @property
    def resource_id(self) -> str:
        return SCALE_SET_ID_FORM.format(
            subscriptionId=self.subscription_id,
            resourceGroupName=self.resource_group_name,
            vmScaleSetName=self.name,
        )

    @property
    def key(self) -> str:
        """Identity of the scale set, whatever its letter case."""
        return fold(self.resource_id)

    def __str__(self) -> str:
        return f"{self.resource_group_name}/{self.name}"


@dataclass(frozen=True, slots=True)
class Scope:
    """Subscription, resource group or scale set that requests are allowed to name."""

    subscription_id: str
    resource_group_name: str | None = None
    scale_set_name: str | None = None

    def contains(self, scale_set: ScaleSet) -> bool:
        if fold(scale_set.subscription_id) != fold(self.subscription_id):
            return False
        if self.resource_group_name is None:
            return True
        if fold(scale_set.resource_group_name) != fold(self.resource_group_name):
            return False
        return self.scale_set_name is None or fold(scale_set.name) == fold(self.scale_set_name)

    def __str__(self) -> str:
        text = f"/subscriptions/{self.subscription_id}"
        if self.resource_group_name is not None:
            text += f"/resourceGroups/{self.resource_group_name}"
        if self.scale_set_name is not None:
            text += f"/providers/Microsoft.Compute/virtualMachineScaleSets/{self.scale_set_name}"
        return text


def subscription_problem(value: str) -> str | None:
    """Why `value` is not a valid subscription id; None if it is."""
    return None if GUID.fullmatch(value) else "must be a subscription id: a GUID with dashes"


def resource_group_problem(value: str) -> str | None:
    """Why `value` is not a valid resource group name; None if it is."""
    if RESOURCE_GROUP.fullmatch(value) and value.strip("."):
        return None
    return "must be a resource group name: 1 to 90 letters, digits, '-', '_', '.', '(' or ')', not ending in '.'"


def scale_set_problem(value: str) -> str | None:
    """Why `value` is not a valid scale set name; None if it is."""
    if SCALE_SET.fullmatch(value):
        return None
    return "must be a scale set name: 1 to 64 letters, digits, '-', '_' or '.', with no '-' or '.' at either end"


def instance_problem(value: str) -> str | None:
    """Why `value` is not a valid instance id (Uniform: a number; Flexible: a VM name); None if it is."""
    return None if INSTANCE.fullmatch(value) else "must be an instance id, as the instance view shows it"


def parse_scale_set_id(text: str) -> ScaleSet:
    """Parse a scale set's resource id, in any letter case. Raises ValueError with the reason."""
    scope = parse_scope(text)
    if scope.resource_group_name is None or scope.scale_set_name is None:
        raise ValueError(f"must have the form {SCALE_SET_ID_FORM}")
    return ScaleSet(scope.subscription_id, scope.resource_group_name, scope.scale_set_name)


def split_scopes(text: str) -> list[str]:
    """The texts of a list of scopes, separated by commas, semicolons or spaces; each for `parse_scope`."""
    return text.replace(",", " ").replace(";", " ").split()


def parse_scope(text: str) -> Scope:
    """Parse a subscription id (bare or as a path), a resource group id or a scale set id, in any letter case.

    Raises ValueError with the reason.
    """
    if GUID.fullmatch(text):
        return Scope(text)
    match text.removesuffix("/").split("/"):
        case ["", head, subscription] if fold(head) == "subscriptions":
            scope = Scope(subscription)
        case ["", head, subscription, groups, group] if (fold(head), fold(groups)) == (
            "subscriptions",
            "resourcegroups",
        ):
            scope = Scope(subscription, group)
        case ["", head, subscription, groups, group, providers, namespace, kind, name] if (
            fold(head),
            fold(groups),
            fold(providers),
            fold(namespace),
            fold(kind),
        ) == ("subscriptions", "resourcegroups", "providers", "microsoft.compute", "virtualmachinescalesets"):
            scope = Scope(subscription, group, name)
        case _:
            raise ValueError(f"must have the form {SCALE_SET_ID_FORM}, or be cut after the subscription or group")
    problems = [subscription_problem(scope.subscription_id)]
    if scope.resource_group_name is not None:
        problems.append(resource_group_problem(scope.resource_group_name))
    if scope.scale_set_name is not None:
        problems.append(scale_set_problem(scope.scale_set_name))
    found = [problem for problem in problems if problem]
    if found:
        raise ValueError("; ".join(found))
    return scope
