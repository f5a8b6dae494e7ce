"""Which tokens of a secure webhook are let in, as plain values. Indexing reads them, so nothing is imported here."""

from __future__ import annotations

from dataclasses import dataclass

# The application by which action groups call ("AzNS AAD Webhook"), the same in every tenant of the public cloud.
ACTION_GROUPS = "461e8683-5575-4561-ac7f-899cc907d62a"
# The application role that the app registration gives to it.
WEBHOOK_ROLE = "ActionGroupsSecureWebhook"
LOGIN = "https://login.microsoftonline.com"


@dataclass(frozen=True, slots=True)
class TokenRules:
    """What a token must say. `authority` is the origin of the issuer, without a slash at its end."""

    tenant: str
    audiences: tuple[str, ...]
    callers: tuple[str, ...] = (ACTION_GROUPS,)
    role: str = WEBHOOK_ROLE
    authority: str = LOGIN

    @property
    def issuer(self) -> str:
        return f"{self.authority}/{self.tenant.lower()}/v2.0"

    @property
    def keys_url(self) -> str:
        """Where the issuer publishes its signing keys, as a JWKS (RFC 7517)."""
        return f"{self.authority}/{self.tenant.lower()}/discovery/v2.0/keys"
