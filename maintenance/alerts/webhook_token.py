"""What the token of a secure webhook must say: signature, issuer, audience, time, caller and role. Pure.

Action groups of Azure Monitor sign in to an app registration of ours and send a v2.0 access token of Entra along with
the alert. Claims: https://learn.microsoft.com/entra/identity-platform/access-token-claims-reference
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import jwt

from maintenance.alerts.token_rules import TokenRules

# How far the clock of the issuer may be from ours.
CLOCK_SKEW = timedelta(minutes=5)
# Tokens of Entra have about 2 KB.
MAX_TOKEN = 16 * 1024
# Never what the token names: with `none`, or with a public key taken for a shared secret, anybody could sign.
ALGORITHM = "RS256"


class InvalidTokenError(ValueError):
    """The token does not let its bearer in. The text says why, and repeats nothing of the token but its claims."""


def bearer_token(authorization: str) -> str:
    """The token of an `Authorization` header. Raises InvalidTokenError if there is none."""
    scheme, _, token = authorization.strip().partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise InvalidTokenError("The request has no bearer token.")
    if len(token) > MAX_TOKEN:
        raise InvalidTokenError(f"The token is longer than {MAX_TOKEN:,} characters.")
    return token.strip()


def key_id(token: str) -> str:
    """The id of the key that the token says it is signed with. Raises InvalidTokenError."""
    try:
        header = jwt.get_unverified_header(token)
    except jwt.PyJWTError:
        raise InvalidTokenError("The token is malformed.") from None
    if header.get("alg") != ALGORITHM:
        raise InvalidTokenError(f"The token is not signed with {ALGORITHM}.")
    kid = header.get("kid")
    if not isinstance(kid, str) or not kid:
        raise InvalidTokenError("The token does not name its key.")
    return kid


def check_token(token: str, key: jwt.PyJWK, rules: TokenRules, *, now: datetime) -> None:
    """Check the signature and every claim. Raises InvalidTokenError with the first thing that is wrong."""
    try:
        claims = jwt.decode(
            token,
            key,
            algorithms=[ALGORITHM],
            audience=rules.audiences,
            issuer=rules.issuer,
            # Times are compared with our clock below, which tests can set.
            options={
                "require": ["exp", "iss", "aud"],
                "verify_exp": False,
                "verify_nbf": False,
                "verify_iat": False,
            },
        )
    except jwt.InvalidAudienceError:
        raise InvalidTokenError("The token is for another audience than MAINTENANCE_ALERT_TOKEN_AUDIENCE.") from None
    except jwt.InvalidIssuerError:
        raise InvalidTokenError(f"The token's issuer is not {rules.issuer}; v2.0 tokens are needed.") from None
    except jwt.MissingRequiredClaimError as error:
        raise InvalidTokenError(f"The token has no claim {error.claim}.") from None
    except (jwt.PyJWTError, ValueError, TypeError):
        raise InvalidTokenError("The token's signature is not valid.") from None
    _check_times(claims, now)
    if str(claims.get("tid", "")).lower() != rules.tenant.lower():
        raise InvalidTokenError("The token is of another tenant than MAINTENANCE_ALERT_TOKEN_TENANT.")
    if str(claims.get("azp", "")).lower() not in {caller.lower() for caller in rules.callers}:
        raise InvalidTokenError("The token's application (azp) is not one of MAINTENANCE_ALERT_TOKEN_CALLERS.")
    roles = claims.get("roles")
    if not isinstance(roles, list) or rules.role not in roles:
        raise InvalidTokenError(f"The token's application does not have the role {rules.role}.")


def _check_times(claims: dict[str, Any], now: datetime) -> None:
    expires, begins = claims.get("exp"), claims.get("nbf", 0)
    for time in (expires, begins):
        if isinstance(time, bool) or not isinstance(time, int | float):
            raise InvalidTokenError("The token's times are not numbers.")
    if now.timestamp() >= float(claims["exp"]) + CLOCK_SKEW.total_seconds():
        raise InvalidTokenError("The token has expired.")
    if now.timestamp() < float(begins) - CLOCK_SKEW.total_seconds():
        raise InvalidTokenError("The token is not valid yet.")
