"""`doctor`: what is wrong with settings, logins, entities, permissions, clocks and queues, and what to do about it."""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
from azure.core.exceptions import AzureError

from maintenance.arm.error_details import MAY_PERFORM, MAY_READ_SCALE_SETS
from maintenance.domain.errors import ArmError, BusUnavailable, IdentityUnavailable
from maintenance.domain.redaction import redact
from maintenance.domain.resources import Scope
from maintenance.servicebus.namespace_check import NamespaceCheck
from maintenance.servicebus.received_problems import LOCK
from maintenance_cli.commands.documents import resource
from maintenance_cli.drawing.lines import Span
from maintenance_cli.drawing.output import Output
from maintenance_cli.exits import Code, Ended
from maintenance_cli.picture.findings import (
    Finding,
    Verdict,
    clock_finding,
    entity_findings,
    permission_findings,
    queue_findings,
    settings_findings,
    telemetry_findings,
    worst,
)
from maintenance_cli.picture.messages import Entity, Read, Unknown
from maintenance_cli.picture.properties import property_findings, wanted_of
from maintenance_cli.reading.azure import Azure
from maintenance_cli.reading.failures import FAILURES, LOGIN, ArmText, code_of_arm, of_entity
from maintenance_cli.reading.namespace import audit_of, dead_letters_of, queues_of, snapshot
from maintenance_cli.reading.properties import read_properties

HEAD = ("", "WHAT", "FOUND")
_SIGNS = {Verdict.OK: ("✓", "green"), Verdict.NOTE: ("·", "cyan"), Verdict.UNKNOWN: ("?", "yellow"),
          Verdict.PROBLEM: ("✗", "red")}  # fmt: skip
_BUS_SCOPE = "https://servicebus.azure.net/.default"
_PERMISSIONS = "/providers/Microsoft.Authorization/permissions?api-version=2022-04-01"


async def main(parsed: argparse.Namespace, output: Output, azure: Azure) -> Code:
    """Print what was found. ERROR where there are problems, UNREACHABLE where Azure cannot be reached."""
    named = bool(parsed.namespace)
    findings = list(settings_findings(azure.environment, by_option=named))
    findings += telemetry_findings(azure.environment)
    try:
        _ = azure.settings
    except Ended:
        # What is wrong with them was found, and without them nothing can be reached.
        return _shown(output, findings)
    bus = _Bus(azure, probe=not parsed.read_only)
    arm = _Arm(azure)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(bus.findings()), group.create_task(arm.findings())]
    for task in tasks:
        findings += task.result()
    code = _shown(output, findings)
    return Code.UNREACHABLE if bus.unreachable or arm.unreachable else code


def _shown(output: Output, findings: list[Finding]) -> Code:
    if output.form == "table":
        output.table(HEAD, [row for finding in findings for row in _rows(finding)], folded=2)
    else:
        output.documents([finding.to_document() for finding in findings])
    problems = sum(finding.verdict is Verdict.PROBLEM for finding in findings)
    output.note(f"{problems} problems." if problems != 1 else "1 problem.")
    return Code.ERROR if worst(findings) is Verdict.PROBLEM else Code.AS_WISHED


def _rows(finding: Finding) -> Iterator[tuple[str | Span, ...]]:
    sign, style = _SIGNS[finding.verdict]
    yield Span(sign, style), finding.area, finding.text
    if finding.advice:
        yield "", "", Span(f"→ {finding.advice}", "bold")


class _Bus:
    """What Service Bus shows. `probe`: also by scheduling two messages of one id, which are canceled at once."""

    def __init__(self, azure: Azure, *, probe: bool) -> None:
        self._azure = azure
        self._probe = probe
        self.unreachable = False

    async def findings(self) -> list[Finding]:
        azure, settings = self._azure, self._azure.settings
        found = await _token(azure, "Service Bus", _BUS_SCOPE) if settings.service_bus.namespace else []
        taken = await snapshot(azure)
        dead = dict.fromkeys(dead_letters_of(settings))
        async with asyncio.TaskGroup() as group:
            first = group.create_task(_first(azure, audit_of(settings)))
            tasks = {entity: group.create_task(azure.peeker.all(entity)) for entity in dead}
        letters = {entity: task.result() for entity, task in tasks.items()}
        read: dict[Entity, Read] = dict(
            zip(queues_of(settings), (taken.requests, taken.operations, taken.coordination), strict=True)
        )
        read |= {audit_of(settings): first.result(), **letters}
        if all(isinstance(part, Unknown) and part.code is Code.UNREACHABLE for part in read.values()):
            self.unreachable = True
            return [*found, Finding("Service Bus", Verdict.PROBLEM, taken.unknown[0].why, "Is the name right?")]
        found += entity_findings(read)
        found += await self._properties()
        found += queue_findings(taken, letters)
        return found

    async def _properties(self) -> list[Finding]:
        settings = self._azure.settings
        wanted = wanted_of(json.loads(resource("infra", "topology.json").read_text("utf-8")))
        names = {
            "maintenance-requests": settings.requests_queue,
            "maintenance-operations": settings.operations_queue,
            "maintenance-coordination": settings.coordination_queue,
            "maintenance-events": settings.events_topic,
            "maintenance-events/maintenance-audit": audit_of(settings).path,
        }
        entities = {
            name: Entity(here, is_topic=name == "maintenance-events") for name, here in names.items() if name in wanted
        }
        read = await read_properties(self._azure, list(entities.values()))
        found: list[Finding] = []
        unknown: list[Unknown] = []
        for name, entity in entities.items():
            values = read[entity]
            if isinstance(values, Unknown):
                # What is not there was found already.
                unknown += [values] if values.code is not Code.NOT_FOUND else []
            else:
                found += property_findings(name, entity.path, wanted[name], values)
        if unknown:
            advice = "Compare them with docs/namespace.md: `az servicebus queue show` prints them."
            found.append(Finding("entities", Verdict.UNKNOWN, unknown[0].why, advice))
            if self._probe:
                found += await self._probed()
        return found

    async def _probed(self) -> list[Finding]:
        """As the worker checks: an id that is scheduled twice must be there once."""
        settings = self._azure.settings
        check = NamespaceCheck(
            self._azure.bus,
            operations_queue=settings.operations_queue,
            coordination_queue=settings.coordination_queue,
            least_lock=LOCK,
            now=self._azure.now,
        )
        found = []
        for queue in (settings.operations_queue, settings.coordination_queue):
            try:
                problem = await check.problem_of(queue)
            except BusUnavailable as error:
                text = f"whether {queue} has duplicate detection: {error}"
                found.append(Finding("entities", Verdict.UNKNOWN, text, "It takes the right to send to the queue."))
                continue
            if problem is None:
                found.append(
                    Finding("entities", Verdict.OK, f"{queue} has duplicate detection, and is not partitioned")
                )
            else:
                text = f"{problem}. Without it an instance can be maintained twice; the worker starts nothing"
                found.append(Finding("entities", Verdict.PROBLEM, text, "See docs/namespace.md."))
        await check.close()
        return found


async def _first(azure: Azure, entity: Entity) -> Read:
    """The first message of an entity: whether it may be read, however much is in it."""
    try:
        return await azure.peeker.page(entity, 1, 1)
    except FAILURES as error:
        return of_entity(error, entity)


async def _token(azure: Azure, whose: str, scope: str) -> list[Finding]:
    try:
        await azure.credential.get_token(scope)
    except (AzureError, OSError, ValueError) as error:
        text = redact(str(error).strip().partition("\n")[0])[:300]
        return [Finding("login", Verdict.PROBLEM, f"no token for {whose}: {text}", LOGIN)]
    return [Finding("login", Verdict.OK, f"a token for {whose} is issued")]


class _Arm:
    """What Resource Manager shows, for each scope that requests may name."""

    def __init__(self, azure: Azure) -> None:
        self._azure = azure
        self.unreachable = False

    async def findings(self) -> list[Finding]:
        azure, settings = self._azure, self._azure.settings
        found = await _token(azure, "Resource Manager", settings.token_scope)
        if any(finding.verdict is Verdict.PROBLEM for finding in found):
            return found
        if not azure.environment.get("MAINTENANCE_ALLOWED_SCOPES", "").strip():
            text = "which scale sets the worker may touch is not known here: MAINTENANCE_ALLOWED_SCOPES is not set"
            return [*found, Finding("permissions", Verdict.UNKNOWN, text), clock_finding(None, azure.now())]
        theirs: datetime | None = None
        for scope in settings.allowed_scopes:
            findings, date = await self._scope(scope)
            found += findings
            theirs = theirs or date
        return [*found, clock_finding(theirs, azure.now())]

    async def _scope(self, scope: Scope) -> tuple[list[Finding], datetime | None]:
        """By a list of scale sets, and by what Azure says that this login may do; both only read."""
        listed = self._azure.resource_manager.list_scale_sets(scope.subscription_id)
        found: list[Finding] = []
        try:
            sets = [each for each in await listed if scope.contains(each.scale_set)]
            text = f"{MAY_READ_SCALE_SETS} on {scope}: {len(sets):,} scale sets are seen"
            found.append(Finding("permissions", Verdict.OK if sets else Verdict.NOTE, text))
        except ArmError as error:
            self.unreachable = self.unreachable or code_of_arm(error) is Code.UNREACHABLE
            found.append(Finding("permissions", Verdict.PROBLEM, str(ArmText(error))))
        actions, date = await self._actions(scope)
        found += permission_findings(str(scope), actions, needed=(MAY_PERFORM,))
        return found, date

    async def _actions(self, scope: Scope) -> tuple[list[dict[str, Any]] | None, datetime | None]:
        endpoint = self._azure.settings.arm_endpoint
        try:
            response = await self._azure.arm.send("GET", f"{endpoint}{scope}{_PERMISSIONS}")
        except (*FAILURES, httpx.HTTPError, IdentityUnavailable):
            return None, None
        date: datetime | None = None
        with suppress(ValueError, TypeError):
            date = parsedate_to_datetime(response.headers.get("date", ""))
        if response.status != 200:
            return None, date
        with suppress(ValueError, TypeError, KeyError, AttributeError):
            return [each for each in json.loads(response.body)["value"] if isinstance(each, dict)], date
        return None, date
