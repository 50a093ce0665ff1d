"""Bearer tokens for leases: intent digest ‖ expiry ‖ HMAC-SHA256, and nothing stored.

A grant says that its holder may use what the intent was filled with, until it expires.
It is checked by its MAC alone, in constant time; what is left to use, and whether the
lease still stands, is asked of the market at every call.
"""

import base64
import binascii
import hmac
import re
from typing import Final

from intents.reject import Reject, RejectCode, reject

SECRET_BYTES_MIN: Final = 32
_CONTEXT: Final = b"keyfill grant 1"
_DIGEST_BYTES: Final = 32
_EXPIRY_BYTES: Final = 8
_BODY_BYTES: Final = _DIGEST_BYTES + _EXPIRY_BYTES
_FORM: Final = re.compile(r"[A-Za-z0-9_-]{96}")
"""72 bytes in base64url: exactly 96 characters, no padding, one spelling each."""


class Grants:
    """Issues and opens grants with one secret. Has no repr of it."""

    def __init__(self, secret: bytes) -> None:
        if len(secret) < SECRET_BYTES_MIN:
            raise ValueError(f"a grant secret has at least {SECRET_BYTES_MIN} bytes")
        self._secret = secret

    def __repr__(self) -> str:
        return "Grants()"

    def issue(self, intent: str, expires_at_ms: int) -> str:
        """The token for an intent."""
        body = bytes.fromhex(intent[2:]) + expires_at_ms.to_bytes(_EXPIRY_BYTES, "big")
        return base64.urlsafe_b64encode(body + self._mac(body)).decode()

    def open(self, token: str, now_ms: int) -> str | Reject:
        """The digest of the intent that a token is for. Rejects: unauthenticated, expired."""
        if not _FORM.fullmatch(token):
            return _forged()
        try:
            raw = base64.urlsafe_b64decode(token)
        except binascii.Error:
            return _forged()
        body, mac = raw[:_BODY_BYTES], raw[_BODY_BYTES:]
        if not hmac.compare_digest(mac, self._mac(body)):
            return _forged()
        if int.from_bytes(body[_DIGEST_BYTES:], "big") <= now_ms:
            return reject(
                RejectCode.EXPIRED,
                "the grant has expired",
                hint="Ask for a new one with POST /v1/leases/grant.",
            )
        return "0x" + body[:_DIGEST_BYTES].hex()

    def _mac(self, body: bytes) -> bytes:
        return hmac.digest(self._secret, _CONTEXT + body, "sha256")


def _forged() -> Reject:
    return reject(
        RejectCode.UNAUTHENTICATED,
        "this is no grant of this market",
        hint="Send `Authorization: Bearer <grant>` with a grant of POST /v1/leases/grant.",
    )
