"""URLs that the managed identity's token may be sent to."""

from __future__ import annotations

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from yarl import URL

from maintenance.arm.urls import check_next_link, check_operation_url, origin_bound, scale_set_path, vm_path
from maintenance.domain.errors import UntrustedUrl
from maintenance.domain.resources import ScaleSet
from tests.support.samples import ENDPOINT, OPERATION_URL, OTHER_SUBSCRIPTION, SCALE_SET, SIGNED_QUERY, SUBSCRIPTION

PATH = f"/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Compute/locations/westeurope/operations/op-1"
HOST = "management.azure.com"
COMPUTE = f"/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Compute"


def check(url: str, endpoint: str = ENDPOINT) -> str:
    return check_operation_url(url, endpoint=endpoint, subscription_id=SUBSCRIPTION)


def test_signed_url_is_returned_verbatim() -> None:
    assert check(OPERATION_URL) == OPERATION_URL
    # The two HTTP libraries do not normalise it either.
    assert str(httpx.URL(OPERATION_URL)) == OPERATION_URL
    assert str(URL(str(httpx.URL(OPERATION_URL)), encoded=True)) == OPERATION_URL


@pytest.mark.parametrize(
    "url",
    [
        OPERATION_URL.replace("https", "HTTPS"),
        OPERATION_URL.replace(HOST, "Management.Azure.COM"),
        OPERATION_URL.replace("Microsoft.Compute", "microsoft.compute"),
        OPERATION_URL.replace("subscriptions", "SUBSCRIPTIONS").replace("providers", "Providers"),
        OPERATION_URL.replace(HOST, f"{HOST}:443"),
        f"{ENDPOINT}{PATH}/result.with.dots?{SIGNED_QUERY}&redirect=https://evil.example/../..",
    ],
)
def test_url_with_origin_spelled_differently_or_dots_in_names_is_trusted(url: str) -> None:
    assert check(url) == url


def test_relative_url_becomes_absolute_and_is_otherwise_unchanged() -> None:
    assert check(f"{PATH}?{SIGNED_QUERY}") == f"{ENDPOINT}{PATH}?{SIGNED_QUERY}"
    assert check(f"{PATH[1:]}?{SIGNED_QUERY}") == f"{ENDPOINT}{PATH}?{SIGNED_QUERY}"


HOSTILE = {
    "another host": f"https://evil.example{PATH}",
    "a host that ends alike": f"https://evil{HOST}{PATH}",
    "a host that begins alike": f"https://{HOST}.evil.example{PATH}",
    "a subdomain": f"https://x.{HOST}{PATH}",
    "a trailing dot": f"https://{HOST}.{PATH}",
    "a port": f"https://{HOST}:8443{PATH}",
    "the usual port of http": f"https://{HOST}:80{PATH}",
    "port zero": f"https://{HOST}:0{PATH}",
    "a blank": f"{OPERATION_URL} x",
    "an empty port": f"https://{HOST}:{PATH}",
    "no number for a port": f"https://{HOST}:x{PATH}",
    "a port out of range": f"https://{HOST}:99999{PATH}",
    "userinfo": f"https://user:secret@{HOST}{PATH}",
    "the host as userinfo": f"https://{HOST}@evil.example{PATH}",
    "empty userinfo": f"https://@{HOST}{PATH}",
    "http": f"http://{HOST}{PATH}",
    "another scheme": f"ftp://{HOST}{PATH}",
    "a scheme without host": f"https:{PATH}",
    "three slashes": f"https:///{HOST}{PATH}",
    "javascript": "javascript:alert(1)",
    "protocol-relative": f"//evil.example{PATH}",
    "protocol-relative with userinfo": f"//{HOST}@evil.example{PATH}",
    "another subscription": OPERATION_URL.replace(SUBSCRIPTION, OTHER_SUBSCRIPTION),
    "the subscription as a prefix": OPERATION_URL.replace(SUBSCRIPTION, SUBSCRIPTION + "0"),
    "another provider": OPERATION_URL.replace("Microsoft.Compute", "Microsoft.KeyVault"),
    "a provider that begins alike": OPERATION_URL.replace("Microsoft.Compute", "Microsoft.ComputeX"),
    "a resource group": OPERATION_URL.replace("/providers", "/resourceGroups/x/providers"),
    "dots": f"{ENDPOINT}{COMPUTE}/../../../{OTHER_SUBSCRIPTION}",
    "dots at the end": f"{ENDPOINT}{COMPUTE}/..",
    "one dot": f"{ENDPOINT}{COMPUTE}/./x",
    "encoded dots": f"{ENDPOINT}{COMPUTE}/%2e%2E/x",
    "half encoded dots": f"{ENDPOINT}{COMPUTE}/.%2e/x",
    "encoded slashes": f"{ENDPOINT}{COMPUTE}/..%2f..%2F..%2fx",
    "encoded back-slashes": f"{ENDPOINT}{COMPUTE}/..%5c..%5Cx",
    "dots in a relative URL": f"{COMPUTE}/../Microsoft.KeyVault/x",
    "a back-slash for a slash": f"https://{HOST}\\@evil.example{PATH}",
    "back-slashes for slashes": f"\\\\evil.example{PATH}",
    "a back-slash in the path": f"{ENDPOINT}{COMPUTE}/..\\..\\x",
    "a tab within": f"https://manage\tment.azure.com{PATH}",
    "a line end": f"{OPERATION_URL}\r\nHost: evil.example",
    "a blank in front": f" {OPERATION_URL}",
    "a null": f"{OPERATION_URL}\x00",
    "delete": f"{OPERATION_URL}\x7f",
    "a full-width dot": f"https://management．azure.com{PATH}",
    "an ideographic dot": f"https://management。azure.com{PATH}",
    "a Cyrillic letter": f"https://manаgement.azure.com{PATH}",
    "a full-width slash": f"https://{HOST}／.evil.example{PATH}",
    "a full-width at sign": f"https://{HOST}＠evil.example{PATH}",
    "a soft hyphen": f"https://manage\u00adment.azure.com{PATH}",
    "an encoded host": f"https://management%2eazure.com{PATH}",
    "brackets": f"https://[::1]{PATH}",
    "half a bracket": f"https://[{HOST}{PATH}",
    "the host in the fragment": f"https://evil.example#{HOST}{PATH}",
    "the path in the query": f"{ENDPOINT}/?{PATH}",
    "the path in the fragment": f"{ENDPOINT}/#{PATH}",
    "two slashes before the path": f"{ENDPOINT}/{PATH}",
    "nothing": "",
    "a slash": "/",
    "only a query": f"?{SIGNED_QUERY}",
}


@pytest.mark.parametrize("url", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_url_is_refused_without_quoting_its_secrets(url: str) -> None:
    with pytest.raises(UntrustedUrl) as refused:
        check(url)
    assert "secret" not in str(refused.value)
    assert "s=Ab" not in str(refused.value)


def test_untrusted_url_error_names_the_host() -> None:
    with pytest.raises(UntrustedUrl, match=r"'evil\.example'.*only 'management\.azure\.com' is trusted"):
        check(HOSTILE["another host"])


def test_endpoint_with_port_trusts_only_that_port() -> None:
    endpoint = "http://127.0.0.1:8099"
    assert check(f"{endpoint}{PATH}", endpoint) == f"{endpoint}{PATH}"
    assert check(PATH, endpoint) == f"{endpoint}{PATH}"
    for other in (
        "http://127.0.0.1:8098",
        "http://127.0.0.1",
        "http://127.0.0.1:80",
        "https://127.0.0.1:8099",
        "http://localhost:8099",
    ):
        with pytest.raises(UntrustedUrl):
            check(f"{other}{PATH}", endpoint)


@pytest.mark.parametrize(
    "url", [OPERATION_URL.replace(HOST, f"{HOST}:443"), OPERATION_URL.replace(HOST, HOST.upper()), OPERATION_URL]
)
def test_call_goes_to_configured_origin_with_the_rest_verbatim(url: str) -> None:
    assert origin_bound(check(url), ENDPOINT) == OPERATION_URL


LIST = f"{ENDPOINT}/subscriptions/{SUBSCRIPTION}/resourceGroups/shop/providers/Microsoft.Compute/virtualMachines"


def check_link(url: str) -> str:
    return check_next_link(url, endpoint=ENDPOINT, subscription_id=SUBSCRIPTION)


@pytest.mark.parametrize(
    ("link", "sent"),
    [
        (f"{LIST}?$filter='a/b' eq '/c'&t=%2f+%20", f"{LIST}?$filter='a/b'%20eq%20'/c'&t=%2f+%20"),
        (f"{LIST}?$filter=a eq 'größe'", f"{LIST}?$filter=a%20eq%20'gr%C3%B6%C3%9Fe'"),
        (f"{LIST.replace('shop', '東京')}?x=1", f"{LIST.replace('shop', '%E6%9D%B1%E4%BA%AC')}?x=1"),
        (f"{LIST.removeprefix(ENDPOINT)}?x=ö y", f"{LIST}?x=%C3%B6%20y"),
    ],
)
def test_next_link_with_blanks_and_letters_is_encoded_and_otherwise_unchanged(link: str, sent: str) -> None:
    assert check_link(link) == sent


@pytest.mark.parametrize(
    "character", ["\t", "\n", "\r", "\x00", "\x7f", "\\", "#", "\u00a0", "\u2028", "\u202e", "\ud800"]
)
def test_next_link_with_control_characters_is_refused(character: str) -> None:
    for link in (f"{LIST}?x=a{character}b", f"{LIST}{character}?x=ab", f"{character}{LIST}"):
        with pytest.raises(UntrustedUrl):
            check_link(link)


@pytest.mark.parametrize("url", [each for each in HOSTILE.values() if not each.startswith(f"{ENDPOINT}/")])
def test_next_link_to_hostile_origin_is_refused(url: str) -> None:
    if "/subscriptions/" in url.partition("?")[0] and SUBSCRIPTION not in url:
        return
    try:
        checked = check_link(url)
    except UntrustedUrl:
        return
    assert httpx.URL(checked).host == HOST


def test_each_name_is_one_quoted_segment_of_a_path() -> None:
    scale_set = ScaleSet(SUBSCRIPTION, "größe", "a/../b?c#d")
    group = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/gr%C3%B6%C3%9Fe/providers/Microsoft.Compute"
    assert scale_set_path(scale_set) == f"{group}/virtualMachineScaleSets/a%2F..%2Fb%3Fc%23d"
    assert vm_path(scale_set, "%2e%2e/x") == f"{group}/virtualMachines/%252e%252e%2Fx"


@pytest.mark.parametrize("name", ["", ".", ".."])
def test_name_that_would_be_a_step_in_the_path_is_never_sent(name: str) -> None:
    with pytest.raises(ValueError, match="segment"):
        vm_path(SCALE_SET, name)


def test_next_link_outside_its_subscription_is_refused() -> None:
    link = f"{ENDPOINT}/subscriptions/{SUBSCRIPTION}/resourceGroups/rg/x?$skiptoken=a%2Fb"
    assert check_next_link(link, endpoint=ENDPOINT, subscription_id=SUBSCRIPTION.upper()) == link
    for url in (link.replace(SUBSCRIPTION, OTHER_SUBSCRIPTION), link.replace(HOST, "evil.example"), link + "\n"):
        with pytest.raises(UntrustedUrl):
            check_next_link(url, endpoint=ENDPOINT, subscription_id=SUBSCRIPTION)


PIECES = [
    "https://",
    "http:",
    "//",
    HOST,
    "evil.example",
    "@",
    ":",
    "443",
    PATH,
    "/..",
    "%2e",
    "\\",
    "?",
    "#",
    ".",
    "／",
]


@settings(derandomize=True, max_examples=600)
@given(st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=3)), max_size=8).map("".join))
def test_any_accepted_url_leads_http_clients_to_trusted_host(url: str) -> None:
    try:
        checked = check(url)
    except UntrustedUrl:
        return
    for seen in (httpx.URL(checked), URL(str(httpx.URL(checked)), encoded=True)):
        assert (seen.scheme, seen.host) == ("https", HOST)
        assert seen.path.lower().startswith(f"/subscriptions/{SUBSCRIPTION}/providers/microsoft.compute/")
    assert not httpx.URL(checked).userinfo
