"""Rules of subscriptions in ``$management`` requests and responses."""

from typing import Final

from sandbox.servicebus.amqp.codec import CodecError, Described, Int, Timestamp, Ulong
from sandbox.servicebus.broker.errors import BrokerError, not_implemented
from sandbox.servicebus.topology.filters import (
    CorrelationFilter,
    FalseFilter,
    Filter,
    FilterError,
    SqlFilter,
    TrueFilter,
)
from sandbox.servicebus.topology.topology import Rule

# https://learn.microsoft.com/azure/service-bus-messaging/service-bus-amqp-request-response#rule-operations
_RULE, _NO_ACTION = 0x0000_0137_0000_0004, 0x0000_0137_0000_0005
# One digit shorter than those of rules and actions, in the documentation and in the clients alike.
_SQL, _TRUE, _FALSE, _CORRELATION = 0x13_7000_0006, 0x13_7000_0007, 0x13_7000_0008, 0x13_7000_0009
_FIELDS: Final = {  # of a correlation filter in a request, in the order of the list in a response
    "correlation-id": "correlation_id",
    "message-id": "message_id",
    "to": "to",
    "reply-to": "reply_to",
    "label": "subject",
    "session-id": "group_id",
    "reply-to-session-id": "reply_to_group_id",
    "content-type": "content_type",
}


def read(arguments: dict[object, object]) -> Rule:
    """The rule that an add-rule request describes. Raises :class:`BrokerError` or :class:`CodecError`."""
    name, description = arguments.get("rule-name"), arguments.get("rule-description")
    if not isinstance(name, str) or not isinstance(description, dict):
        raise CodecError("add-rule takes a rule-name and a rule-description")
    action = description.get("sql-rule-action")
    if isinstance(action, dict) and action.get("expression"):
        raise not_implemented("Actions of rules are not part of the sandbox.")
    return Rule(name, _filter(description))


def _filter(description: dict[object, object]) -> Filter:
    sql, correlation = description.get("sql-filter"), description.get("correlation-filter")
    if isinstance(sql, dict):
        try:
            return SqlFilter(str(sql.get("expression")))
        except FilterError as error:
            raise BrokerError("com.microsoft:argument-error", str(error)) from error
    if isinstance(correlation, dict):
        system = {field: correlation[key] for key, field in _FIELDS.items() if correlation.get(key) is not None}
        user = correlation.get("properties")
        return CorrelationFilter(system, {str(k): v for k, v in user.items()} if isinstance(user, dict) else {})
    if "true-filter" in description:
        return TrueFilter()
    if "false-filter" in description:
        return FalseFilter()
    raise CodecError("a rule has a sql-filter, a correlation-filter, a true-filter or a false-filter")


def described(rule: Rule) -> Described:
    """A rule as a response lists it: filter, action, name, time of creation (not stored, so the epoch)."""
    return Described(Ulong(_RULE), [_described(rule.filter), Described(Ulong(_NO_ACTION), []), rule.name, Timestamp(0)])


def _described(condition: Filter) -> Described:
    if isinstance(condition, SqlFilter):
        return Described(Ulong(_SQL), [condition.expression, Int(20)])  # 20: the level of the language
    if isinstance(condition, CorrelationFilter):
        return Described(
            Ulong(_CORRELATION), [*(condition.system.get(field) for field in _FIELDS.values()), dict(condition.user)]
        )
    return Described(Ulong(_FALSE if isinstance(condition, FalseFilter) else _TRUE), [])
