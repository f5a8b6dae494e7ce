"""Names and ids of Azure resources."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maintenance.domain.resources import (
    ScaleSet,
    Scope,
    fold,
    instance_problem,
    parse_scale_set_id,
    parse_scope,
    resource_group_problem,
    scale_set_problem,
    subscription_problem,
)
from tests.support.samples import OTHER_SUBSCRIPTION, SCALE_SET, SUBSCRIPTION

ID = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/web-rg/providers/Microsoft.Compute/virtualMachineScaleSets/web"


def test_scale_set_id_round_trips() -> None:
    assert parse_scale_set_id(ID) == SCALE_SET
    assert SCALE_SET.resource_id == ID
    assert str(SCALE_SET) == "web-rg/web"


@pytest.mark.parametrize("spelling", [ID.lower(), ID.upper(), ID.replace("resourceGroups", "resourcegroups"), ID + "/"])
def test_scale_set_ids_in_any_letter_case_have_one_key(spelling: str) -> None:
    assert parse_scale_set_id(spelling).key == SCALE_SET.key


@pytest.mark.parametrize(
    ("group", "other"), [("kube", "\u212aube"), ("\u00e5s", "\u212bs"), ("größe", "GRÖSSE"), ("é", "É")]
)
def test_names_are_compared_by_ascii_letters_only(group: str, other: str) -> None:
    ours, theirs = ScaleSet(SUBSCRIPTION, group, "web"), ScaleSet(SUBSCRIPTION, other, "web")
    scope = parse_scope(f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{group}")
    assert scope.contains(ours)
    assert not scope.contains(theirs)
    assert ours.key != theirs.key
    assert scope.contains(ScaleSet(SUBSCRIPTION.upper(), group, "WEB"))


@given(st.text(max_size=20))
def test_folding_changes_ascii_letters_only(name: str) -> None:
    assert fold(name) == "".join(each.lower() if each.isascii() else each for each in name)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/",
        "web",
        ID[1:],
        ID + "/virtualMachines/0",
        ID + "//",
        f"/subscriptions/{SUBSCRIPTION}",
        f"/subscriptions/{SUBSCRIPTION}/resourceGroups/web-rg",
        ID.replace("Microsoft.Compute", "Microsoft.Network"),
        ID.replace("virtualMachineScaleSets", "virtualMachines"),
        ID.replace(SUBSCRIPTION, "not-a-guid"),
        ID.replace("web-rg", ".."),
        ID.replace("web-rg", "a%2Fb"),
        ID.replace("/web", "/we b"),
        ID + "?x=1",
        ID + "#x",
        ID + "\n",
        "https://management.azure.com" + ID,
    ],
)
def test_invalid_scale_set_id_is_refused_with_reason(text: str) -> None:
    with pytest.raises(ValueError, match="must"):
        parse_scale_set_id(text)


def test_id_with_several_invalid_names_is_refused_with_every_reason() -> None:
    with pytest.raises(ValueError, match=r"subscription id.*resource group name.*scale set name"):
        parse_scale_set_id("/subscriptions/x/resourceGroups/../providers/Microsoft.Compute/virtualMachineScaleSets/-")


@pytest.mark.parametrize("name", ["rg", "My.Group_(1)-x", "größe", "a" * 90, "-rg"])
def test_valid_resource_group_name_is_accepted(name: str) -> None:
    assert resource_group_problem(name) is None


@pytest.mark.parametrize("name", ["", ".", "..", "rg.", "a/b", "a\\b", "a b", "a" * 91, "a\n", "rg?", "a%2e", "a\x00"])
def test_invalid_resource_group_name_is_reported(name: str) -> None:
    assert resource_group_problem(name)


@pytest.mark.parametrize("name", ["", ".", "..", "-a", "a-", "a.", "a/b", "../x", "a b", "a" * 65, "größe", "a\n", "٣"])
def test_invalid_scale_set_name_is_reported(name: str) -> None:
    assert scale_set_problem(name)


@pytest.mark.parametrize("name", ["w", "web", "web_1", "w.e-b", "a" * 64])
def test_valid_scale_set_name_is_accepted(name: str) -> None:
    assert scale_set_problem(name) is None


@pytest.mark.parametrize("value", ["", "*", "0,1", "..", "a/b", " 0", "0\n", "x" * 81, "٣"])
def test_invalid_instance_id_is_reported(value: str) -> None:
    assert instance_problem(value)


@pytest.mark.parametrize(
    "value", ["", SUBSCRIPTION[:-1], SUBSCRIPTION.replace("-", ""), f"{{{SUBSCRIPTION}}}", "٣" * 8]
)
def test_invalid_subscription_id_is_reported(value: str) -> None:
    assert subscription_problem(value)


@given(st.text(max_size=100))
def test_any_valid_name_is_one_segment_of_a_path(name: str) -> None:
    for problem_of in (resource_group_problem, scale_set_problem, instance_problem, subscription_problem):
        if problem_of(name) is None:
            assert name not in ("", ".", "..")
            assert not set(name) & set("/\\?#%&:@ \t\r\n\x00")


@pytest.mark.parametrize(
    ("scope", "contained"),
    [
        (SUBSCRIPTION, True),
        (SUBSCRIPTION.upper(), True),
        (OTHER_SUBSCRIPTION, False),
        (f"/subscriptions/{SUBSCRIPTION}", True),
        (f"/subscriptions/{SUBSCRIPTION}/", True),
        (f"/SUBSCRIPTIONS/{SUBSCRIPTION}/RESOURCEGROUPS/WEB-RG", True),
        (f"/subscriptions/{SUBSCRIPTION}/resourceGroups/web", False),
        (f"/subscriptions/{OTHER_SUBSCRIPTION}/resourceGroups/web-rg", False),
        (ID.upper(), True),
        (ID + "2", False),
        (ID.replace("web-rg", "other"), False),
    ],
)
def test_scope_contains_only_scale_sets_below_it(scope: str, *, contained: bool) -> None:
    assert parse_scope(scope).contains(SCALE_SET) is contained


@pytest.mark.parametrize("scope", ["", "*", "/", "/subscriptions", "/subscriptions/*", "subscriptions/x", ID + "/x"])
def test_scope_wider_than_subscription_is_refused(scope: str) -> None:
    with pytest.raises(ValueError, match="must"):
        parse_scope(scope)


def test_scope_round_trips() -> None:
    for text in (f"/subscriptions/{SUBSCRIPTION}", f"/subscriptions/{SUBSCRIPTION}/resourceGroups/web-rg", ID):
        assert str(parse_scope(text)) == text
    assert parse_scope(SUBSCRIPTION) == Scope(SUBSCRIPTION)
    assert parse_scope(ID) == Scope(SUBSCRIPTION, "web-rg", "web")


def test_scale_sets_with_other_spelling_have_one_key() -> None:
    assert ScaleSet(SUBSCRIPTION, "WEB-RG", "Web").key == SCALE_SET.key != ScaleSet(SUBSCRIPTION, "web-rg", "x").key
