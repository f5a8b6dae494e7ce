"""Which namespace and which cloud: the worker's own settings, an option, or the sandbox that is up on this machine."""

from __future__ import annotations

import argparse
import os
import shlex
from collections.abc import Mapping
from pathlib import Path

from maintenance.configuration.texts import CONNECTION, NAMESPACE
from maintenance.domain.errors import SettingsError
from maintenance.domain.resources import (
    ScaleSet,
    parse_scale_set_id,
    parse_scope,
    resource_group_problem,
    scale_set_problem,
    subscription_problem,
)
from maintenance.settings import DEFAULT_ENTITIES, Settings, read_settings
from maintenance_cli.exits import Code, Ended

SCOPES = "MAINTENANCE_ALLOWED_SCOPES"
USED = (
    *DEFAULT_ENTITIES,
    "AZURE_CLOUD",
    "ARM_ENDPOINT",
    "ARM_TOKEN_SCOPE",
    "MAINTENANCE_IDENTITY_CLIENT_ID",
    SCOPES,
)
# Stands for what a command does not use, and the reader of settings wants.
_NOT_USED = {NAMESPACE: "not-used.invalid", SCOPES: "00000000-0000-0000-0000-000000000000"}
_DOMAIN = ".servicebus.windows.net"
_SANDBOX_FILE = Path("build", "sandbox.env")
NO_NAMESPACE = (
    "No Service Bus namespace is named. Use --namespace HOST; or --sandbox; or set the worker's own settings, "
    f"{NAMESPACE} or {CONNECTION}."
)


def environment_of(parsed: argparse.Namespace, environment: Mapping[str, str]) -> dict[str, str]:
    """The worker's settings as the options change them. Raises Ended."""
    found = dict(environment)
    if parsed.sandbox:
        found = {**_without_connection(found), **_sandbox(Path.cwd())}
        # The identity of the sandbox is found by the SDK, in the environment of the process.
        for name in ("IDENTITY_ENDPOINT", "IDENTITY_HEADER"):
            if name in found:
                os.environ[name] = found[name]
    elif parsed.namespace:
        host = parsed.namespace if "." in parsed.namespace else f"{parsed.namespace}{_DOMAIN}"
        found = {**_without_connection(found), NAMESPACE: host}
    return found


def settings_of(environment: Mapping[str, str], *, needs_bus: bool) -> Settings:
    """What a command uses of the worker's settings; the others may be missing or wrong. Raises Ended."""
    used = {
        name: text for name, text in environment.items() if name in USED or name.upper().startswith(CONNECTION.upper())
    }
    if not needs_bus and not _names_namespace(used):
        used[NAMESPACE] = _NOT_USED[NAMESPACE]
    if not _names_namespace(used):
        raise Ended(Code.USAGE, NO_NAMESPACE)
    used.setdefault(SCOPES, _NOT_USED[SCOPES])
    if not used[SCOPES].strip():
        used[SCOPES] = _NOT_USED[SCOPES]
    try:
        return read_settings(used)
    except SettingsError as error:
        raise Ended(Code.USAGE, *(f"setting {problem}" for problem in error.problems)) from None


def scale_set_of(text: str, parsed: argparse.Namespace, environment: Mapping[str, str]) -> ScaleSet:
    """The scale set that SET names: by its resource id, or by GROUP/NAME with a subscription. Raises Ended."""
    if text.startswith("/"):
        try:
            return parse_scale_set_id(text)
        except ValueError as error:
            raise Ended(Code.USAGE, f"SET: {error} (got {text})") from None
    group, slash, name = text.partition("/")
    if not slash:
        raise Ended(Code.USAGE, f"SET: must be a scale set's resource id, or GROUP/NAME (got {text})")
    subscription = _subscription(parsed, environment)
    problems = [
        f"SET: {problem} (got {value})"
        for value, problem in (
            (subscription, subscription_problem(subscription)),
            (group, resource_group_problem(group)),
            (name, scale_set_problem(name)),
        )
        if problem
    ]
    if problems:
        raise Ended(Code.USAGE, *problems)
    return ScaleSet(subscription, group, name)


def scope_of(text: str, parsed: argparse.Namespace, environment: Mapping[str, str]) -> str:
    """The path of the scope that SCOPE names: by its id, or a scale set by GROUP/NAME. Raises Ended."""
    if "/" in text and not text.startswith("/"):
        return scale_set_of(text, parsed, environment).resource_id
    try:
        return str(parse_scope(text))
    except ValueError as error:
        raise Ended(Code.USAGE, f"SCOPE: {error} (got {text})") from None


def _subscription(parsed: argparse.Namespace, environment: Mapping[str, str]) -> str:
    named = parsed.subscription or environment.get("AZURE_SUBSCRIPTION_ID", "").strip()
    if named:
        return str(named)
    scopes = settings_of(environment, needs_bus=False).allowed_scopes if environment.get(SCOPES) else ()
    subscriptions = {scope.subscription_id.lower() for scope in scopes}
    if len(subscriptions) == 1:
        return subscriptions.pop()
    raise Ended(
        Code.USAGE,
        "SET: name the subscription too, with --subscription or AZURE_SUBSCRIPTION_ID; or give a resource id.",
    )


def _names_namespace(environment: Mapping[str, str]) -> bool:
    names = {name.upper() for name, text in environment.items() if text.strip()}
    return bool(names & {CONNECTION.upper(), NAMESPACE.upper()})


def _without_connection(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: text for name, text in environment.items() if not name.upper().startswith(CONNECTION.upper())}


def _sandbox(here: Path) -> dict[str, str]:
    """The variables that `python -m sandbox up` wrote: in this folder, one above, or the project's."""
    project = Path(__file__).resolve().parents[2]
    for folder in (here, *here.parents, project):
        file = folder / _SANDBOX_FILE
        if file.is_file():
            pairs = [shlex.split(line) for line in file.read_text("utf-8").splitlines() if line.strip()]
            return dict(words[0].split("=", 1) for words in pairs if len(words) == 1 and "=" in words[0])
    raise Ended(
        Code.NOT_FOUND,
        "No sandbox is up on this machine: `python -m sandbox up` writes build/sandbox.env, and that is not here, in a "
        "folder above, or in the project.",
    )
