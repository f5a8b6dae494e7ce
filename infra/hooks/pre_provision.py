"""Before provisioning: the allowed scopes must be given, since no default is right."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

from infra.hooks.azure_cli import say
from maintenance.domain.resources import parse_scope, split_scopes


def problems(environment: Mapping[str, str]) -> list[str]:
    """What is wrong with the environment, for a person; empty where nothing is."""
    texts = split_scopes(environment.get("MAINTENANCE_ALLOWED_SCOPES", ""))
    if not texts:
        return [
            "MAINTENANCE_ALLOWED_SCOPES is not set. Name what the worker may restart, for example\n"
            "  azd env set MAINTENANCE_ALLOWED_SCOPES /subscriptions/<id>/resourceGroups/<group>"
        ]
    found, seen = [], set()
    for text in texts:
        try:
            scope = str(parse_scope(text)).lower()
        except ValueError as error:
            found.append(f"MAINTENANCE_ALLOWED_SCOPES: {text!r} {error}")
            continue
        if scope in seen:
            found.append(f"MAINTENANCE_ALLOWED_SCOPES names {text!r} twice")
        seen.add(scope)
    return found


def main() -> int:
    found = problems(os.environ)
    for problem in found:
        say(problem)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
