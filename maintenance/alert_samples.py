"""By what the samples are known that Azure Monitor's "Test action group" sends. Pure.

Source: the samples in Azure Monitor's documentation of both schemas, and what was seen in the field: the samples
changed over the years, and no one mark is in all of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_RULE = re.compile(r"test-[a-z]*alertrule(-v\d+-\w+)?", re.IGNORECASE)
_ALERT_ID = re.compile(
    r".*/alerts/(1234abcd5678efgh\w*|12345678-1234-1234-1234-1234567890ab|test_alert)", re.IGNORECASE | re.DOTALL
)
_PLACE = "/subscriptions/11111111-1111-1111-1111-111111111111/resourcegroups/test-rg/"


def test_marks(
    *, alert_id: str, rule: str, targets: Iterable[str], tracking_id: str, title: str, synthetic: str
) -> str:
    """Everything that marks the alert as a test, in words; empty where nothing does. Texts as the alert has them."""
    letters = "".join(character for character in title.lower() if character.isalnum())
    marks = (
        ("it is marked as synthetic", synthetic.lower() in ("true", "1")),
        ("its tracking id is that of a test", tracking_id.lower().startswith("test-")),
        ("its title is that of a test", letters.startswith("testactiongroup")),
        ("its rule is that of a test", bool(_RULE.fullmatch(rule))),
        ("its alert id is that of a test", bool(_ALERT_ID.fullmatch(alert_id))),
        ("its target is that of a test", any(target.lower().startswith(_PLACE) for target in targets)),
    )
    return "; ".join(words for words, so in marks if so)
