"""What the tags of a scale set allow, and how they narrow a run. Pure.

Tags only narrow: whoever may write them can keep maintenance away or slow it down, and never start or widen any.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

from maintenance.domain.calendars import Gate, Window
from maintenance.domain.errors import Problem
from maintenance.domain.formats import parse_json, shown
from maintenance.domain.instances import NO_TAGS, Tags

if TYPE_CHECKING:
    # The settings need this module before anything else, and 12 classes of records take a tenth of their import.
    from maintenance.domain.operation import Rollout

EXCLUDE, WINDOWS, ROLLOUT = "maintenance-exclude", "maintenance-windows", "maintenance-rollout"
# The property of a request that a discovery or a scan sends: the texts of the tags, as they were listed.
PROPERTY = "scaleSetTags"
EXCLUDED = Problem(f"tag {EXCLUDE}", "keeps the scale set out of maintenance", "true")


T = TypeVar("T", int, timedelta)


@dataclass(frozen=True, slots=True, kw_only=True)
class TagRollout:
    """The `maintenance-rollout` tag: None for what it leaves to the request."""

    max_instances_per_wave: int | str | None = None
    by_update_domain: bool = False
    pause_between_waves: timedelta | None = None
    max_failed_instances: int | None = None
    health_timeout: timedelta | None = None
    gate: Gate | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TagPolicy:
    """What a scale set's tags say. `problems`: why nothing may be started there, be it that a tag says so or that one
    cannot be read."""

    windows: tuple[Window, ...] = ()
    rollout: TagRollout | None = None
    problems: tuple[Problem, ...] = ()


UNTAGGED = TagPolicy()


def to_texts(tags: Tags) -> dict[str, str]:
    """The tags by their names, without those that there are not."""
    texts = {EXCLUDE: tags.exclude, WINDOWS: tags.windows, ROLLOUT: tags.rollout}
    return {name: text for name, text in texts.items() if text is not None}


def of_texts(texts: Mapping[str, str]) -> Tags:
    return Tags(exclude=texts.get(EXCLUDE), windows=texts.get(WINDOWS), rollout=texts.get(ROLLOUT))


def to_properties(tags: Tags) -> dict[str, str]:
    """The tags as properties of a message; empty where there are none."""
    texts = to_texts(tags)
    return {PROPERTY: json.dumps(texts)} if texts else {}


def of_properties(properties: Mapping[str, object]) -> Tags:
    """The tags in a message's properties. What cannot be read keeps the scale set out."""
    text = properties.get(PROPERTY)
    if text is None:
        return NO_TAGS
    try:
        texts = parse_json(str(text))
    except ValueError:
        texts = None
    if not isinstance(texts, dict) or not all(isinstance(each, str) for each in texts.values()):
        return Tags(exclude=shown(text))
    return of_texts(texts)


def narrowed(rollout: Rollout, tag: TagRollout) -> Rollout:
    """The stricter of both in everything. Neither can be widened: doing this again changes nothing."""
    asked, allowed, bound = rollout.max_instances_per_wave, tag.max_instances_per_wave, rollout.tag_bound
    if asked is not None and allowed is not None and type(asked) is not type(allowed):
        # Of a number and a percentage nobody knows the smaller one before the instances are counted.
        bound = _smaller(bound, allowed)
    else:
        asked = _smaller(asked, allowed)
    return replace(
        rollout,
        max_instances_per_wave=asked,
        tag_bound=bound,
        by_update_domain=rollout.by_update_domain or tag.by_update_domain,
        pause_between_waves=max(rollout.pause_between_waves, tag.pause_between_waves or timedelta(0)),
        max_failed_instances=_least(rollout.max_failed_instances, tag.max_failed_instances),
        health_timeout=_least(rollout.health_timeout, tag.health_timeout),
    )


def narrowed_gate(gate: Gate | None, tag: Gate | None) -> Gate | None:
    """The stricter of two gates: at more waves, for a shorter time, and without an answer it stops."""
    if gate is None or tag is None:
        return gate or tag
    return Gate(
        "everyWave" if "everyWave" in (gate.waves, tag.waves) else "first",
        min(gate.timeout, tag.timeout),
        "stop" if "stop" in (gate.at_timeout, tag.at_timeout) else "proceed",
    )


def in_words(problems: Iterable[Problem]) -> str:
    return "; ".join(f"its {problem.field} {problem.message}" for problem in problems)


def _smaller(one: int | str | None, other: int | str | None) -> int | str | None:
    """Of two numbers, or of two percentages."""
    given = [each for each in (one, other) if each is not None]
    return min(given, key=lambda each: int(str(each).removesuffix("%")), default=None)


def _least(asked: T, allowed: T | None) -> T:
    return asked if allowed is None else min(asked, allowed)
