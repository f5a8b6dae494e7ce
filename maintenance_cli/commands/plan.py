"""`plan`: what a request would do now, by the instance views. Asks Resource Manager, never Service Bus."""

from __future__ import annotations

import argparse
import time
from typing import Any

from maintenance.domain.errors import InvalidRequest
from maintenance.operations.instance_views import InstanceViews
from maintenance.requests.schema import MaintenanceRequest
from maintenance_cli.drawing.lines import Line, Span
from maintenance_cli.drawing.output import Output
from maintenance_cli.exits import Code, Ended
from maintenance_cli.picture.planned import Plan, plan_of, request_of
from maintenance_cli.picture.wanted import document_of_flags
from maintenance_cli.reading.azure import Azure

HEAD = ("INSTANCE", "STATE", "WAVE", "DOMAIN", "WINDOW ENDS", "WHY")
_STYLES = {"Eligible": "green", "InProgress": "blue", "Completed": "dim", "NotFound": "red", "Unreported": "yellow"}


async def main(parsed: argparse.Namespace, output: Output, azure: Azure) -> Code:
    """Print the plan."""
    request = request_or_ended(document_of_flags(parsed, azure.scale_set(parsed.set)))
    plan = await read_plan(azure, request)
    if output.form != "table":
        output.document(plan.to_document())
        return Code.AS_WISHED
    output.table(HEAD, rows(plan), folded=len(HEAD) - 1)
    output.text("")
    output.lines(wave_lines(plan))
    for line in remarks(plan, azure):
        output.note(line)
    return Code.AS_WISHED


def request_or_ended(document: dict[str, Any]) -> MaintenanceRequest:
    """The request, read as the worker reads it. Raises Ended with every problem."""
    try:
        return request_of(document)
    except InvalidRequest as error:
        raise Ended(Code.USAGE, *map(str, error.problems)) from None


async def read_plan(azure: Azure, request: MaintenanceRequest) -> Plan:
    """The plan of a request, by views that are read now. Raises ArmError."""
    views = InstanceViews(azure.resource_manager, max_age=0.0, now=azure.now, monotonic=time.monotonic)
    listing = await views.of(request.scale_set)
    return plan_of(request, listing.instances, flexible=listing.flexible, now=listing.time)


def rows(plan: Plan) -> list[tuple[str | Span, ...]]:
    return [
        (
            each.instance_id,
            Span(each.state, _STYLES.get(each.state, "")),
            "–" if each.wave is None else str(each.wave),
            "–" if each.update_domain is None else str(each.update_domain),
            (each.window_ends or "–")[:16].replace("T", " "),
            each.why + (" (down)" if each.down else ""),
        )
        for each in plan.instances
    ]


def wave_lines(plan: Plan) -> list[Line]:
    """The waves, one a line."""
    if not plan.waves:
        return [Line.of(Span("Nothing to do: ", "bold"), "no instance is to be maintained.")]
    total = sum(map(len, plan.waves))
    head = (
        f"{len(plan.waves)} {'wave' if len(plan.waves) == 1 else 'waves'}, {total} of {len(plan.instances)} instances"
    )
    bound = f", at most {plan.at_once} down at once" if plan.at_once is not None else ""
    return [
        Line.of(Span(head, "bold"), bound),
        *(Line.of(f"  {at:>3}  {', '.join(wave)}") for at, wave in enumerate(plan.waves, 1)),
    ]


def remarks(plan: Plan, azure: Azure) -> list[str]:
    """What else there is to know."""
    found = []
    if plan.down:
        found.append(f"{plan.down} instances of the set are down or updating now; they count towards what may be down.")
    if plan.problems:
        found.append(f"The worker would reject it: {'; '.join(map(str, plan.problems))}")
    if azure.environment.get("MAINTENANCE_ALLOWED_SCOPES") and not azure.settings.allows(plan.scale_set):
        found.append("The worker would reject it: the set is not within MAINTENANCE_ALLOWED_SCOPES.")
    return found
