"""Redaction of secrets in texts that are logged or published."""

from __future__ import annotations

import pytest

from maintenance.domain.redaction import redact
from tests.support.samples import OPERATION_URL

JWT = "eyJ0eXAiOiJKV1QiLCJhbGciOiJSUzI1NiJ9.eyJhdWQiOiJodHRwczovL21hbmFnZW1lbnQifQ.c2lnbmF0dXJlLXNpZw"

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
