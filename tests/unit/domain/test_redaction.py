"""Redaction of secrets in texts that are logged or published."""

from __future__ import annotations

import base64
import io
import logging
import re
import subprocess
import sys
from collections.abc import Iterator
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maintenance.domain.errors import Problem
from maintenance.domain.redaction import (
    MAX_TEXT,
    make_logs_printable,
    needs_all_rules,
    printable,
    redact,
    redact_by_all_rules,
    traceback_of,
)
from tests.support.limit import LIMIT
from tests.support.samples import OPERATION_URL

JWT = "eyJ0eXAiOiJKV1QiLCJhbGciOiJSUzI1NiJ9.eyJhdWQiOiJodHRwczovL21hbmFnZW1lbnQifQ.c2lnbmF0dXJlLXNpZw"

# Base64 of 30 bytes, and of 64 as a storage account's key has them.
RANDOM_KEY = "7Fh2kLq9Zx0Vb3Nm8Ty6Rw1Ep4Sd5Ga+Jc/Uo7Qr"
ACCOUNT_KEY = "q8Zt3mB1xVw5Hd7Kp0Ls/2RfYc9Nj4Gu6Ta+EoWiXhQvDb8MzSk1Pn3Ay5Cl7Fr0Ie2Ug4Jt6Bw8Ox=="
SAS = "sv=2024-11-04&sr=b&sig=SIGSIG%2B&se=2026-01-01"

# Forms in which secrets were seen in messages, bodies and logs.
FORMS = {
    "an opaque bearer token": "Bearer SIGSIG-opaque",
    "basic authentication": "Authorization: Basic dXNlcjpTSUdTSUc=",
    "basic authentication by itself": "Basic SIGSIGpTSUdTSUc=",
    "an unknown scheme": "User-Agent: x\nAuthorization: Custom SIGSIG, more SIGSIG",
    "a token without signature": f"{JWT.rpartition('.')[0]}SIGSIG",
    "a query by itself": SAS,
    "a query with its mark": f"?{SAS}",
    "a query in HTML": SAS.replace("&", "&amp;"),
    "a query without scheme": f"account.blob.core.windows.net/container?{SAS}",
    "an encoded URL": "https%3A%2F%2Faccount.blob.core.windows.net%2Fc%3Fsig%3DSIGSIG",
    "a fragment": "https://portal.example/#access_token=SIGSIG",
    "a function's key": "POST https://app.example/api/alerts?code=SIGSIG",
    "a function's key by itself": "?code=SIGSIG",
    "user information": "https://user:SIGSIG@host.example/x",
    "user information of Service Bus": "amqps://RootManageSharedAccessKey:SIGSIG@ns.servicebus.windows.net",
    "a key in JSON": '{"sharedAccessKey": "SIGSIG"}',
    "a key in JSON in JSON": '{\\"sharedAccessKey\\":\\"SIGSIG\\"}',
    "a key in a JSON list": '{"keys": ["SIGSIG", "SIGSIG"]}',
    "a key in Python": "{'password': 'SIGSIG'}",
    "a key in HTML": "&quot;password&quot;:&quot;SIGSIG&quot;",
    "a key in XML": "<Password>SIGSIG</Password>",
    "a key in an attribute": '<add key="Password" value="SIGSIG"/>',
    "a named value": '{"name": "db-password", "value": "SIGSIG"}',
    "an encoded pair": "SharedAccessKey%3dSIGSIG%3D",
    "a quoted password": 'password="SIG SIG SIG"',
    "a password with escapes": 'password="SIG\\"SIGSIG"',
    "a password with blanks": "Server=x;Password=SIG SIGSIG;User=x",
    "a password in prose": "with the password 'SIGSIG'",
    "an argument": "login --password SIGSIG",
    "an environment variable": "AZURE_CLIENT_SECRET=SIGSIG",
    "another environment variable": "export PGPASSWORD=SIGSIG",
    "the host's header": "X-IDENTITY-HEADER: SIGSIG",
    "the host's variable": "IDENTITY_HEADER=SIGSIG",
    "a function's header": "x-functions-key: SIGSIG",
    "a subscription key": "Ocp-Apim-Subscription-Key: SIGSIG",
    "a cookie": "Set-Cookie: session=SIGSIG; other=SIGSIG",
    "an assertion": "client_assertion=SIGSIG",
    "a refresh token": '"refresh_token":"SIGSIG"',
    "an instrumentation key": "InstrumentationKey=SIGSIG;IngestionEndpoint=https://x.example/",
    "numbered keys": "key1=SIGSIG, secondaryKey: SIGSIG",
    "a private key": "-----BEGIN PRIVATE KEY-----\nSIGSIG\n-----END PRIVATE KEY-----",
    "a private key that is cut off": "-----BEGIN RSA PRIVATE KEY-----\nSIGSIG",
    "a private key in JSON": "-----BEGIN CERTIFICATE-----\\nSIGSIG\\n-----END CERTIFICATE-----",
    "a client secret": "abc8Q~SIGSIGSIGabcdefghijklmnopqrstuvwxyz1",
    "a token of GitHub": "ghp_SIGSIG7890abcdefABCDEF1234567890abcd",
    "a certificate": f"MII{'A' * 40}SIGSIG",
}


@pytest.mark.parametrize("text", FORMS.values(), ids=FORMS.keys())
def test_secret_of_any_form_is_redacted(text: str) -> None:
    for whole in (text, f"It failed: {text}", f"line\n{text}\nline"):
        redacted = redact(whole)
        assert "SIG" not in redacted
        assert "…" in redacted
        assert redact(redacted) == redacted


@pytest.mark.parametrize("key", [RANDOM_KEY, ACCOUNT_KEY, "0" * 3 + "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822c"])
def test_key_without_a_name_is_redacted(key: str) -> None:
    for text in (key, f"sent {key} and failed", f"({key})", f"x:{key},"):
        assert key[:8] not in redact(text)


@pytest.mark.parametrize("size", [32, 48, 64])
def test_random_bytes_in_base64_are_redacted(size: int) -> None:
    random = Random(size)  # noqa: S311 - a test's, and the same in each run
    for _ in range(200):
        raw = random.randbytes(size)
        assert base64.b64encode(raw).decode() not in redact(f"with {base64.b64encode(raw).decode()} here")


HARMLESS = [
    "Operation 'performMaintenance' is not allowed on VM 'vmss1_1' since the Subscription of this VM is not eligible.",
    "/subscriptions/11111111-2222-3333-4444-555555555555/resourceGroups/rg-prod-weu-001/providers/Microsoft.Compute"
    "/virtualMachineScaleSets/aks-nodepool1-12345678-vmss/virtualMachines/aks-nodepool1-12345678-vmss000003",
    "MAINTENANCE_ALLOWED_SCOPES: is missing: list the subscriptions; ARM_TOKEN_SCOPE: must be a URL",
    "ConflictingConcurrentWriteNotAllowed since 2026-01-31T12:00:00.123456+00:00",
    "Leads to: alert-0123456789abcdef0123-0123456789abcdef0123456789abcdef-dry",
    '{"requestId": "friday", "keyName": "x", "vmScaleSetName": "MC_aks-prod_aks-prod_westeurope"}',
    "No token for the managed identity here; code: Conflict, message: No. Basic authentication, a bypass: 1",
    "Microsoft.Compute/VMScaleSetActions3Min;239,Microsoft.Compute/VMScaleSetActions30Min;1190",
    "needs the permission Microsoft.Compute/virtualMachineScaleSets/virtualMachines/instanceView/read on größe/web",
]


@pytest.mark.parametrize("text", HARMLESS)
def test_names_ids_and_words_are_shown(text: str) -> None:
    assert redact(text) == text


HEAVY = [
    "a",
    "key:",
    "key=",
    "a=b&",
    "x=",
    "?a=b",
    "/a?",
    "a://",
    '\\"',
    'key="',
    "<a ",
    "%3a%2f%2f",
    "eyJaaaaaaaa",
    "key ",
]


@pytest.mark.parametrize(
    "piece", [*HEAVY, "-----BEGIN x-----", '"name":"x","value":"', "9f", ".", " ", "Basic ", "-p "]
)
def test_redaction_of_longest_text_ends(piece: str) -> None:
    """A pattern that went back over the text again and again would run into pytest's time limit."""
    redact(piece * (MAX_TEXT // len(piece)))


@given(st.text(max_size=200))
def test_redaction_of_any_text_is_idempotent(text: str) -> None:
    assert redact(redact(text)) == redact(text)


PIECES = st.sampled_from(
    [
        *FORMS.values(),
        *(
            "ghp_",
            "password",
            "key",
            "Q~",
            "MII",
            "sk-",
            "://",
            "?",
            "&",
            "=",
            ":",
            " ",
            "\n",
            '"',
            "<a>",
            "value",
            "name",
        ),
        *(
            "The instance",
            "web_3",
            "restarted",
            "SIG7Fh2kLq9Zx0Vb3Nm8Ty6Rw1",
            "/subscriptions/",
            "Basic ",
            "%3f",
            "%3d",
        ),
        *("\u017fecret", "\u212aey", "s\u0131g", "\u00e9"),
    ]
)


@pytest.mark.parametrize("text", FORMS.values(), ids=FORMS.keys())
def test_fast_path_leaves_every_form_of_a_secret_to_the_plain_path(text: str) -> None:
    # Without what stands for the secret, in which a mark may be.
    without = text.replace("SIGSIG", "QZX417").replace("SIG", "QZX")
    assert redact(without) == redact_by_all_rules(without)


@given(st.lists(PIECES | st.text(max_size=8), max_size=8).map("".join))
def test_fast_path_shows_what_the_plain_path_shows(text: str) -> None:
    assert redact(text) == redact_by_all_rules(text[:MAX_TEXT])


@pytest.mark.parametrize(
    "text",
    [
        "The operation on virtual machine web_7 was aborted: the instance was updated by another operation.",
        "OperationNotAllowed: Operation 'performMaintenance' is not allowed on VM 'web_0' since it is not eligible.",
    ],
)
def test_messages_of_instances_take_the_fast_path(text: str) -> None:
    """An end has 1,000 of them, and nothing else is done while they are redacted."""
    assert not needs_all_rules(text)


def test_long_text_is_cut() -> None:
    assert len(redact("word " * MAX_TEXT)) <= MAX_TEXT + 1


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("größe 東京 a", "größe 東京 a"),
        ("a\nb\r\tc", "a\\nb\\r\\tc"),
        ("\x1b[2K\x9b31m", "\\x1b[2K\\x9b31m"),
        ("\u202egnp.exe\u2028", "\\u202egnp.exe\\u2028"),
        ("a\udfff", "a\\udfff"),
    ],
)
def test_what_is_not_printable_is_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert Problem(text, text, text) == Problem(shown, shown, shown)


@given(st.text(st.characters(categories=None), max_size=50))
def test_any_text_becomes_one_encodable_line(text: str) -> None:
    assert printable(text).isprintable()
    assert str(Problem(text, "x", text)).encode()


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """What a handler of the root writes of the loggers below one that has the filter."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    logger = logging.getLogger("printing")
    logger.handlers, logger.propagate = [], False
    make_logs_printable("printing")
    logger.addHandler(handler)
    yield stream
    logger.handlers = []


class Odd:
    def __str__(self) -> str:
        raise ValueError("odd")


def test_every_record_becomes_one_printable_line(lines: io.StringIO) -> None:
    # These are made after the filter was installed.
    logger = logging.getLogger("printing.later.still")
    logger.setLevel(logging.INFO)
    logger.warning("a %s %d", "forged\n2026 INFO line\x1b[2K\ud800", 5)
    logger.warning("no %d", "number")
    logger.warning("odd %s", Odd())
    logger.warning("%", *[])
    try:
        raise ValueError("secret\nvalue")
    except ValueError:
        logger.exception("failed", stack_info=True)
    written = lines.getvalue().split("\n")
    assert written[0] == "a forged\\n2026 INFO line\\x1b[2K\\ud800 5"
    assert len(written) == 6
    assert all(line.isprintable() for line in written)
    assert "ValueError at test_redaction.py" in written[4]
    assert "secret" not in lines.getvalue()


def test_filter_is_installed_for_every_logger_where_the_worker_starts() -> None:
    script = """
import importlib, logging, pkgutil
import maintenance, maintenance.worker
from maintenance.domain.redaction import PrintableFilter, make_logs_printable
make_logs_printable()
make_logs_printable()
for module in pkgutil.walk_packages(maintenance.__path__, "maintenance."):
    importlib.import_module(module.name)
loggers = [each for each in logging.root.manager.loggerDict if each.startswith("maintenance.")]
assert len(loggers) > 5, loggers
shown = []
class Handler(logging.Handler):
    def emit(self, record):
        shown.append(record.getMessage())
logging.getLogger().addHandler(Handler())
for each in loggers:
    logging.getLogger(each).error("a\\nb %s", "c\\nd")
assert shown == ["a\\\\nb c\\\\nd"] * len(loggers), shown
assert sum(type(each).__name__ == "_Gate" for each in logging.getLogger("maintenance").handlers) == 1
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=LIMIT)


SECRET_TEXTS = [
    (f"polled {OPERATION_URL} and failed", ["MIIHpT", "Ab-cd_EF"]),
    (f'{{"url": "{OPERATION_URL}"}}', ["MIIHpT", "Ab-cd_EF"]),
    ("GET HTTPS://management.azure.com/x?c=CERT&s=SIGNATURE HTTP/1.1", ["CERT", "SIGNATURE"]),
    ("https://management.azure.com?s=SIGNATURE", ["SIGNATURE"]),
    ("https://x.example/a#token=SECRET", ["SECRET"]),
    (f"Authorization: Bearer {JWT}", [JWT, "eyJhdWQ", "c2lnbmF0"]),
    ("authorization: bearer opaque-TOKEN.x/y+z==", ["opaque-TOKEN"]),
    (f"the token {JWT} expired", ["eyJhdWQ", "c2lnbmF0"]),
    (f'"access_token":"{JWT}"', ["eyJhdWQ", "c2lnbmF0"]),
    (
        "Endpoint=sb://ns.servicebus.windows.net/;SharedAccessKeyName=Root;SharedAccessKey=a/b+KEY=;EntityPath=q",
        ["a/b+KEY"],
    ),
    ("AccountName=x;AccountKey=KEYKEY==;EndpointSuffix=core", ["KEYKEY"]),
    ("SharedAccessSignature sr=x&sig=SIGSIG%3d&se=1&skn=Root", ["SIGSIG"]),
    ("SharedAccessSignature=sr%3dSIGSIG", ["SIGSIG"]),
    ("password = hunter2", ["hunter2"]),
]


@pytest.mark.parametrize(("text", "secrets"), SECRET_TEXTS)
def test_secrets_are_redacted(text: str, secrets: list[str]) -> None:
    redacted = redact(text)
    for secret in secrets:
        assert secret not in redacted
    assert "…" in redacted


def test_paths_and_key_names_are_not_redacted() -> None:
    assert redact(f"polled {OPERATION_URL} twice") == f"polled {OPERATION_URL.partition('?')[0]}?… twice"
    key_name = "Endpoint=sb://ns.servicebus.windows.net/;SharedAccessKeyName=Root;"
    assert redact(key_name + "SharedAccessKey=x") == key_name + "SharedAccessKey=…"


@pytest.mark.parametrize(
    "text",
    ["", "Operation 'performMaintenance' is not allowed on VM 'vmss1_1'.", "https://x.example/path", "eyJ", "a?b=c"],
)
def test_text_without_secrets_is_unchanged(text: str) -> None:
    assert redact(text) == text


@pytest.mark.parametrize(("text", "secrets"), SECRET_TEXTS)
def test_redaction_is_idempotent(text: str, secrets: list[str]) -> None:
    assert redact(redact(text)) == redact(text), secrets


def test_traceback_has_types_and_places_of_all_causes_and_no_texts() -> None:
    def fail() -> None:
        raise ValueError("sig=c2VjcmV0")

    try:
        try:
            fail()
        except ValueError as error:
            raise RuntimeError("eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0.") from error
    except RuntimeError as error:
        text = traceback_of(ExceptionGroup("key", [error]))["vmss.maintenance.traceback"]
    lines = [re.sub(r":\d+ ", " ", line) for line in text.splitlines()]
    here = "  unit/domain/test_redaction.py"
    name = "test_traceback_has_types_and_places_of_all_causes_and_no_texts"
    assert lines == ["ExceptionGroup", "RuntimeError", f"{here} {name}", "ValueError", f"{here} fail", f"{here} {name}"]


def test_traceback_of_an_error_that_is_its_own_cause_ends() -> None:
    error, other = ValueError(), KeyError()
    error.__context__, other.__context__ = other, error
    assert traceback_of(error) == {"vmss.maintenance.traceback": "ValueError\nKeyError"}
