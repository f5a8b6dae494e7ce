"""The tags of a scale set, read from their texts into what they allow. Pure.

A tag that cannot be read keeps maintenance away: its owner meant to say something about it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Literal

from maintenance.domain.errors import InvalidRequest, PolicyViolation, Problem
from maintenance.domain.formats import parse_json, refuse, shown
from maintenance.domain.instances import Tags
from maintenance.policies.tags import (
    EXCLUDE,
    EXCLUDED,
    ROLLOUT,
    WINDOWS,
    TagPolicy,
    TagRollout,
    narrowed,
    narrowed_gate,
)
from maintenance.requests.schema import MaintenanceRequest, PartFields, RolloutFields, gate_of, read_part

_YES, _NO = ("true", "1", "yes", "on"), ("false", "0", "no", "off")


def read_tag_policy(tags: Tags) -> TagPolicy:
    """What the tags allow, with every problem found."""
    problems: list[Problem] = []
    if tags.exclude is not None and (text := tags.exclude.strip().lower()) not in _NO:
        wrong = Problem(f"tag {EXCLUDE}", "must be true or false", shown(tags.exclude))
        problems.append(EXCLUDED if text in _YES else wrong)
    windows, rollout = None, None
    with _collecting(problems, WINDOWS):
        windows = _read("windows", tags.windows).windows
    with _collecting(problems, ROLLOUT):
        rollout = _rollout(_read("rollout", tags.rollout).rollout)
    return TagPolicy(windows=tuple(each.window() for each in windows or ()), rollout=rollout, problems=tuple(problems))


def narrow(request: MaintenanceRequest, tags: TagPolicy) -> MaintenanceRequest:
    """The request as the tags of its scale set narrow it. Raises PolicyViolation where they let nothing start."""
    if tags.problems:
        raise PolicyViolation(tags.problems, request.scale_set, request.reason)
    request = replace(request, tag_windows=tags.windows)
    if tags.rollout is None:
        return request
    gate = narrowed_gate(request.gate, tags.rollout.gate)
    return replace(request, rollout=narrowed(request.rollout, tags.rollout), gate=gate)


@contextmanager
def _collecting(problems: list[Problem], tag: str) -> Iterator[None]:
    """Adds what is wrong to the problems, by the name of the tag."""
    try:
        yield
    except InvalidRequest as error:
        problems += (
            Problem(f"tag {tag}", f"{each.field} {each.message}".strip(), each.value) for each in error.problems
        )


def _read(field: Literal["windows", "rollout"], text: str | None) -> PartFields:
    """One tag, read as the field of a request. Raises InvalidRequest."""
    if text is None:
        return PartFields()
    try:
        value = parse_json(text)
    except ValueError:
        refuse("", f"must be JSON, as the {field} of a request", shown(text))
    return read_part(field, value)


def _rollout(fields: RolloutFields | None) -> TagRollout | None:
    if fields is None:
        return None
    given = fields.model_fields_set
    return TagRollout(
        max_instances_per_wave=fields.max_instances_per_wave,
        by_update_domain=fields.by_update_domain,
        pause_between_waves=fields.pause_between_waves if "pause_between_waves" in given else None,
        max_failed_instances=fields.max_failed_instances if "max_failed_instances" in given else None,
        health_timeout=fields.health_timeout if "health_timeout" in given else None,
        gate=gate_of(fields),
    )
