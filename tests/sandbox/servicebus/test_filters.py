"""SQL and correlation filters: what they take, what is unknown, and what they do not understand."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.servicebus.amqp.codec import Int, Long, Symbol
from sandbox.servicebus.broker.broker import MessageFacts
from sandbox.servicebus.topology.filters import CorrelationFilter, FilterError, SqlFilter
from tests.sandbox.servicebus.samples import message

FACTS = MessageFacts(
    message(
        "id-1",
        subject="Order",
        to="here",
        correlation_id="c",
        properties={
            "color": "red",
            "Size": Long(5),
            "price": 2.5,
            "urgent": True,
            "calm": False,
            "name": "it's 100%",
            "symbol": Symbol("x"),
            "two words": "yes",
            "key": UUID(int=1),
        },
    )
)


@pytest.mark.parametrize(
    "expression",
    [
        "color = 'red'",
        "COLOR = 'red'",  # names have no case, strings have
        "color <> 'blue' AND color != 'Red'",
        "user.color = 'red' AND sys.Label = 'Order' AND sys.messageid = 'id-1'",
        "sys.To = 'here' AND sys.CorrelationId = 'c' AND sys.subject = 'Order'",
        "size = 5 AND Size >= 5 AND size <= 5.0 AND size < 6 AND size > 4.9",
        "price = 2.5 AND price > 2",
        "price = 25e-1 AND -price < 0 AND +price > 0",
        "size + 1 = 6 AND size * 2 - 1 = 9 AND size / 2 = 2.5 AND size % 2 = 1",
        "1 + 2 * 3 = 7 AND (1 + 2) * 3 = 9",
        "urgent",
        "urgent = TRUE AND calm = false AND NOT calm",
        "color IN ('blue', 'red') AND size NOT IN (1, 2)",
        "color LIKE 'r%' AND color LIKE '_e_' AND color NOT LIKE 'b%'",
        "name = 'it''s 100%'",
        "name LIKE '%100\\%' ESCAPE '\\'",
        "nix IS NULL AND color IS NOT NULL",
        "EXISTS(color) AND NOT EXISTS(user.nix) AND EXISTS(sys.Label)",
        "[two words] = 'yes' AND \"two words\" = 'yes'",
        "symbol = 'x'",
        "key = '00000000-0000-0000-0000-000000000001'",
        "color = 'blue' OR color = 'red' AND size = 5",
        "(color = 'blue' OR size = 5) AND urgent",
        "NOT color = 'blue'",
        "1 = 1",
        # unknown OR true is true, and not (unknown and false) too
        "nix = 1 OR color = 'red'",
        "NOT (nix = 1 AND color = 'blue')",
        "NULL IS NULL",
    ],
)
def test_what_is_true_is_taken(expression: str) -> None:
    assert SqlFilter(expression).takes(FACTS)


@pytest.mark.parametrize(
    "expression",
    [
        "color = 'Red'",
        "color <> 'red'",
        "size < 5 OR size > 5",
        "color LIKE 'e'",
        "color LIKE 'r_'",
        "name LIKE '100\\%' ESCAPE '\\'",
        "color IN ('blue')",
        "color NOT IN ('red')",
        "calm",
        "color IS NULL",
        "EXISTS(nix)",
        # what is unknown is not taken, and neither is its opposite
        "nix = 1",
        "NOT nix = 1",
        "nix <> 1",
        "nix IN (1)",
        "nix NOT IN (1)",
        "nix LIKE 'a%'",
        "nix NOT LIKE 'a%'",
        "nix = NULL",
        "nix = 1 AND color = 'red'",
        "NOT (nix = 1 AND color = 'red')",
        "NOT (nix = 1 OR color = 'blue')",
        "sys.ReplyTo = 'x'",
        # what cannot be compared is unknown
        "color = 5",
        "color <> 5",
        "size = '5'",
        "urgent = 1",
        "color + 1 = 2",
        "size / 0 = 1",
        "size % 0 = 1",
        "color",
        "size",
    ],
)
def test_what_is_false_or_unknown_is_not_taken(expression: str) -> None:
    assert not SqlFilter(expression).takes(FACTS)


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "color =",
        "color = 'red",
        "= 1",
        "(color = 1",
        "color = 1)",
        "color IN ()",
        "color IN 1",
        "color IS 1",
        "color NOT = 1",
        "color LIKE 5",
        "color LIKE 'a' ESCAPE 'ab'",
        "color LIKE 'a\\' ESCAPE '\\'",
        "sys.nix = 1",
        "other.color = 1",
        "EXISTS color",
        "color = 1 color",
        "a # b",
        "1abc = 1",
        "x" * 1025,
    ],
)
def test_invalid_filters_are_errors(expression: str) -> None:
    with pytest.raises(FilterError):
        SqlFilter(expression)


@given(st.text(alphabet="ab'()=<>%_ ANDORTILKE.[]\"1", max_size=60))
def test_any_text_is_a_filter_or_a_filter_error(expression: str) -> None:
    try:
        taken = SqlFilter(expression).takes(FACTS)
    except FilterError:
        return
    assert taken in (True, False)


@pytest.mark.parametrize(
    ("system", "user", "taken"),
    [
        ({}, {}, True),
        ({"subject": "Order"}, {}, True),
        ({"subject": "order"}, {}, False),
        ({"subject": "Order", "to": "there"}, {}, False),
        ({"message_id": "id-1"}, {"color": "red", "size": Int(5)}, True),
        ({}, {"color": "red", "nix": ""}, False),
        ({}, {"urgent": True}, True),
        ({}, {"urgent": 1}, False),
        ({}, {"size": True}, False),
    ],
)
def test_a_correlation_filter_needs_all_to_be_equal(
    system: dict[str, object], user: dict[str, object], taken: bool
) -> None:
    assert CorrelationFilter(system, user).takes(FACTS) is taken
