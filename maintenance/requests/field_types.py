"""The types of a request's fields: what each one accepts, in Python and in JSON Schema. Pure.

The patterns mean the same to Python and to ECMA-262, which JSON Schema names: no `\\w`, no `\\Z`. The schema says
all that a schema can say; `OTHER_RULES` says the rest, and a property test proves that nothing else differs.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator, WithJsonSchema

from maintenance.domain import message_ids
from maintenance.domain.formats import RFC_3339, parse_duration
from maintenance.domain.resources import (
    INSTANCE,
    SCALE_SET,
    fold,
    instance_problem,
    parse_scale_set_id,
    parse_scope,
    resource_group_problem,
    scale_set_problem,
    subscription_problem,
)

# An operation's record names each instance three times, and must fit into one message.
MAX_NAMES = 40_000
MAX_INSTANCES = 1000
MAX_REASON = 1000
# The greatest number that every client's integers hold.
MAX_NUMBER = 2**31 - 1
LONGEST_PAUSE = timedelta(days=7)
# What the worker refuses and no JSON Schema can say.
OTHER_RULES = (
    "`deadline` must be after `notBefore`",
    "`gateTimeout` and `atGateTimeout` of a rollout need its `gate`",
    "`instanceIds` must name each instance once, whatever the case of its ASCII letters",
    f"`instanceIds` must have at most {MAX_NAMES:,} characters in all",
    "what is not ASCII in a resource group's name must be a letter or a digit",
    "the message must be at most 100,000 bytes of UTF-8, and repeat no name",
)
# Characters that show the text behind them in another direction.
_TURNING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def _whole(pattern: str) -> str:
    """`pattern` for all of a text. To Python, `$` alone would also match before a line break at the end."""
    return f"^(?:{pattern})(?!\\n)$"


def any_case(text: str) -> str:
    """A pattern for a text in any letter case of its ASCII letters."""
    return "".join(f"[{each.upper()}{each.lower()}]" if each.isalpha() else re.escape(each) for each in text)


_GUID = "-".join(f"[0-9a-fA-F]{{{length}}}" for length in (8, 4, 4, 4, 12))
# ASCII but for letters, digits and -_.(), then spaces, punctuation, half surrogate pairs and private characters.
_NOT_IN_GROUPS = (
    r"\u0000-\u0027\u002a-\u002c\u002f\u003a-\u0040\u005b-\u005e\u0060\u007b-\u00a9"
    r"\u2000-\u206f\ud800-\udfff\ue000-\uf8ff"
)
_GROUP = rf"[^{_NOT_IN_GROUPS}]{{0,89}}[^{_NOT_IN_GROUPS}.]"
_SCALE_SET_ID = "/".join(
    (
        "",
        any_case("subscriptions"),
        _GUID,
        any_case("resourceGroups"),
        _GROUP,
        any_case("providers"),
        any_case("Microsoft.Compute"),
        any_case("virtualMachineScaleSets"),
        f"{SCALE_SET.pattern}/?",
    )
)
_SCOPE = (
    f"{_GUID}|/{any_case('subscriptions')}/{_GUID}(?:/{any_case('resourceGroups')}/{_GROUP}"
    f"(?:/{any_case('providers')}/{any_case('Microsoft.Compute')}/{any_case('virtualMachineScaleSets')}"
    f"/{SCALE_SET.pattern})?)?/?"
)
_ONE_LINE = r"[^\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069\ud800-\udfff]*"
_LEAP_YEAR = "(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:0[48]|[2468][048]|[13579][26])00)"
_DATE = (
    "(?:(?!0000)[0-9]{4}-"
    "(?:(?:0[1-9]|1[0-2])-(?:0[1-9]|1[0-9]|2[0-8])|(?:0[13-9]|1[0-2])-(?:29|30)|(?:0[13578]|1[02])-31)"
    f"|{_LEAP_YEAR}-02-29)"
)
_HOUR = "(?:[01][0-9]|2[0-3])"
_TIME = rf"{_DATE}[Tt ]{_HOUR}:[0-5][0-9]:[0-5][0-9](?:\.[0-9]+)?(?:[Zz]|[+-]{_HOUR}:[0-5][0-9])"
# At most 7 days. The first unit may be as large as that; those behind it stay below the next larger one.
_M, _S = "(?:[0-5]?[0-9]M)?", r"(?:[0-5]?[0-9](?:\.[0-9]+)?S)?"
_NO_M, _NO_S = "(?:00?M)?", r"(?:00?(?:\.0+)?S)?"
_DURATION = "|".join(
    (
        "P[01]W",
        f"P7D(?:T(?=0)(?:00?H)?{_NO_M}{_NO_S})?",
        f"P0?[0-6]D(?:T(?=[0-9])(?:(?:[01]?[0-9]|2[0-3])H)?{_M}{_S})?",
        f"PT(?:168H{_NO_M}{_NO_S}|(?:[0-9]{{1,2}}|1[0-5][0-9]|16[0-7])H{_M}{_S})",
        f"PT(?:10080M{_NO_S}|(?:[0-9]{{1,4}}|100[0-7][0-9])M{_S})",
        r"PT(?:604800(?:\.0+)?|(?:[0-9]{1,5}|[1-5][0-9]{5}|60[0-3][0-9]{3}|604[0-7][0-9]{2})(?:\.[0-9]+)?)S",
    )
)


def _string(pattern: str, **more: Any) -> dict[str, Any]:
    return {"type": "string", "pattern": _whole(pattern), **more}


def text_of(pattern: str, **more: Any) -> WithJsonSchema:
    """The JSON Schema of a text that a pattern matches as a whole."""
    return WithJsonSchema(_string(pattern, **more))


def checked(problem_of: Callable[[str], str | None]) -> AfterValidator:
    """Refuses a text with what is wrong with it, if anything is."""

    def check(value: str) -> str:
        if problem := problem_of(value):
            raise ValueError(problem)
        return value

    return AfterValidator(check)


def _resource_id(value: str) -> str:
    parse_scale_set_id(value)
    return value


def _scope(value: str) -> str:
    parse_scope(value)
    return value


def _request_id(value: str) -> str:
    if not message_ids.REQUEST_ID.fullmatch(value):
        raise ValueError("must be 1 to 100 printable ASCII characters without spaces")
    return value


def _reason(value: str) -> str:
    # It goes into logs and events, for people to read. Letters of every script, emoji and their joiners are welcome.
    if any(unicodedata.category(each) in ("Cc", "Cs", "Zl", "Zp") or each in _TURNING for each in value):
        raise ValueError("must be one line without control characters")
    return value


def _unique(ids: list[str]) -> list[str]:
    counts = Counter(map(fold, ids))
    twice = sorted({instance_id for instance_id in ids if counts[fold(instance_id)] > 1})
    if twice:
        raise ValueError(f"must name each instance once; more than once: {', '.join(twice[:10])}")
    return ids


def _number(value: object) -> object:
    # JSON knows no integers: serialisers of languages that do not either write 2.0.
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _wave_size(value: object) -> object:
    number = _number(value)
    whole = isinstance(number, int) and not isinstance(number, bool) and 1 <= number <= MAX_NUMBER
    share = isinstance(value, str) and re.fullmatch(_SHARE, value)
    if not whole and not share:
        raise ValueError('must be a number of instances from 1, or a percentage from "1%" to "100%"')
    return number


def _schema_version(value: object) -> object:
    # To Python, true equals 1.
    if isinstance(value, bool) or value != 1:
        raise ValueError("must be 1")
    return 1


def _time(value: object) -> datetime:
    if not isinstance(value, str) or not RFC_3339.fullmatch(value):
        raise ValueError('must be an RFC 3339 time with its offset, as "2026-01-31T22:00:00Z"')
    moment = datetime.fromisoformat(value.upper())
    if not re.fullmatch(_TIME, value):
        raise ValueError('must have an offset of at most "23:59"')
    try:
        moment.astimezone(UTC)
    except OverflowError:
        # The first or last day there is, as serialisers write what was never set: its offset leads out of the calendar.
        return moment.replace(tzinfo=UTC)
    return moment


def _pause(value: object) -> timedelta:
    text = value if isinstance(value, str) else ""
    pause = parse_duration(text)
    if pause > LONGEST_PAUSE:
        raise ValueError("must be at most 7 days")
    if not re.fullmatch(_DURATION, text):
        raise ValueError(
            'must be written in whole days, hours and minutes, each unit below the next larger one, as "PT1H30M"'
        )
    return pause


def _instance_ids(value: object) -> object:
    if not isinstance(value, list) or not value:
        raise ValueError("must be a list of at least one instance id, or left out for the whole scale set")
    if sum(len(instance_id) for instance_id in value if isinstance(instance_id, str)) > MAX_NAMES:
        raise ValueError(f"must have at most {MAX_NAMES:,} characters in all; send several requests")
    return value


_SHARE = "[1-9][0-9]?%|100%"

SubscriptionId = Annotated[str, checked(subscription_problem), text_of(_GUID)]
ResourceGroupName = Annotated[str, checked(resource_group_problem), text_of(_GROUP, maxLength=90)]
ScaleSetName = Annotated[str, checked(scale_set_problem), text_of(SCALE_SET.pattern)]
ScaleSetId = Annotated[str, AfterValidator(_resource_id), text_of(_SCALE_SET_ID)]
ScopePath = Annotated[str, AfterValidator(_scope), text_of(_SCOPE)]
RequestId = Annotated[str, AfterValidator(_request_id), text_of(message_ids.REQUEST_ID.pattern)]
Reason = Annotated[str, Field(max_length=MAX_REASON), AfterValidator(_reason), text_of(_ONE_LINE, maxLength=MAX_REASON)]
Time = Annotated[datetime, PlainValidator(_time), text_of(_TIME)]
Pause = Annotated[timedelta, PlainValidator(_pause), text_of(_DURATION)]
InstanceId = Annotated[str, checked(instance_problem), text_of(INSTANCE.pattern)]
# Null and an empty list are mistakes of the sender, not other words for "all": _instance_ids refuses both.
InstanceIds = Annotated[
    Annotated[list[InstanceId], Field(max_length=MAX_INSTANCES), AfterValidator(_unique)] | None,
    BeforeValidator(_instance_ids),
    WithJsonSchema(
        {
            "type": "array",
            "items": _string(INSTANCE.pattern),
            "minItems": 1,
            "maxItems": MAX_INSTANCES,
            "uniqueItems": True,
        }
    ),
]
WaveSize = Annotated[
    int | str,
    BeforeValidator(_wave_size),
    WithJsonSchema(
        {
            "oneOf": [
                {"type": "integer", "minimum": 1, "maximum": MAX_NUMBER},
                _string(_SHARE),
            ]
        }
    ),
]
WaveNumber = Annotated[int, Field(ge=1, le=MAX_INSTANCES), BeforeValidator(_number)]
FailedInstances = Annotated[int, Field(ge=0, le=MAX_NUMBER), BeforeValidator(_number)]
SchemaVersion = Annotated[Literal[1], BeforeValidator(_schema_version), WithJsonSchema({"const": 1})]
