"""Who is asking: HTTP requests signed instead of a password.

The header `Keyfill-Request` is base64url of JSON {account, nonce, expiresAt, signature};
the signature is over a Request document that the server rebuilds from what it received,
so that method, target and body are all bound. A request is good once and for at most
`LIFETIME_SECONDS_MAX`. The memory of used nonces is this process's, so what may have been
signed before the process started, and used with its predecessor, is refused.
"""

import base64
import binascii
import re
from collections.abc import Awaitable, Callable
from typing import Annotated, Final

import msgspec
from msgspec import Meta
from tiny_keccak import keccak256

from intents.admission import Rules, Unverified, Verified, admit
from intents.document import Address, Nonce, Request, Seconds
from intents.reject import Reject, RejectCode, reject
from solver.core.command import Authority
from solver.core.intake import live_session
from solver.core.state import Account, IntentState, MandateState, OfferState, State
from solver.verifier.decode import decode_json

HEADER: Final = "Keyfill-Request"
LIFETIME_SECONDS_MAX: Final = 60
HEADER_CHARS_MAX: Final = 6_144
Speaks = Callable[[str, str, str], Awaitable[bool | Reject]]
"""Whether (account, digest, signature) is good by the account's contract."""
_FORM: Final = re.compile(r"[A-Za-z0-9_-]+={0,2}")


class Credentials(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"
):
    """What the header, or the first message of a socket, says."""

    account: Address
    nonce: Nonce
    expires_at: Seconds
    signature: Annotated[str, Meta(max_length=4_100)]


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Who signed, for which account. `permissions` is None for its own key or contract."""

    account: str
    signer: str
    permissions: int | None = None

    def may_touch(self, document: IntentState | OfferState | MandateState) -> bool:
        """Whether it may act on a document of its account.

        A session key may act on what it signed itself or the account's contract signed.
        """
        if document.document.account != self.account:
            return False
        own = document.signer == self.signer or document.authority is Authority.CONTRACT
        return self.permissions is None or own

    def may_spend_by(self, signer: str) -> bool:
        """Whether it may be told the secret of a mandate that `signer` signed for its account.

        A session key its own alone: by another's it would spend beyond its cap and its end.
        """
        return self.permissions is None or signer == self.signer


class Nonces:
    """Used nonces until their requests expire, by the second. Never more than `entries_max`."""

    def __init__(self, entries_max: int) -> None:
        self._entries_max = entries_max
        self._expiry: dict[tuple[str, int], int] = {}
        self._by_second: dict[int, list[tuple[str, int]]] = {}

    def take(self, account: str, nonce: int, expires_at: int, now_s: int) -> Reject | None:
        """Use a nonce. Rejects: replayed, busy (the memory is full)."""
        self._forget(now_s)
        if (account, nonce) in self._expiry:
            return reject(RejectCode.REPLAYED, f"nonce {nonce} was used")
        if len(self._expiry) >= self._entries_max:
            return reject(RejectCode.BUSY, "too many requests are remembered", retry_after_ms=1_000)
        self._expiry[account, nonce] = expires_at
        self._by_second.setdefault(expires_at, []).append((account, nonce))
        return None

    def __len__(self) -> int:
        return len(self._expiry)

    def _forget(self, now_s: int) -> None:
        for second in [second for second in self._by_second if second <= now_s]:
            for entry in self._by_second.pop(second):
                del self._expiry[entry]


class Authenticator:
    """Verifies signed requests against the market's accounts."""

    def __init__(self, state: State, rules: Rules, *, started_at_ms: int, nonces_max: int) -> None:
        self._state = state
        self._rules = rules
        self._started_at_s = -(-started_at_ms // 1_000)
        self._now_s = self._started_at_s
        self._nonces = Nonces(nonces_max)

    async def verify(
        self,
        credentials: Credentials,
        *,
        method: str,
        target: str,
        body: bytes,
        now_ms: Callable[[], int],
        permissions: int,
        speaks: Speaks,
    ) -> Caller | Reject:
        """The caller. A session key needs one of `permissions`.

        Only where neither the account's key nor a session key signed, its contract is
        asked by `speaks`, and may refuse. Rejects, in order: validity_too_long, expired,
        signature_malformed, signature_high_s, signature_invalid, unauthenticated (may be
        older than this process), not_authorized, replayed, busy.
        """
        # Never back in time: what was forgotten as expired must stay expired.
        self._now_s = max(self._now_s, now_ms() // 1_000)
        if credentials.expires_at > self._now_s + LIFETIME_SECONDS_MAX:
            return _too_long(self._now_s)
        document = Request(
            account=credentials.account,
            method=method,
            target=target,
            body_hash="0x" + keccak256(body).hex(),
            nonce=credentials.nonce,
            expires_at=credentials.expires_at,
        )
        verified = admit(
            Unverified(document=document, signature=credentials.signature),
            self._rules,
            self._now_s,
        )
        if isinstance(verified, Reject):
            return verified
        if credentials.expires_at - LIFETIME_SECONDS_MAX < self._started_at_s:
            return self._maybe_older(credentials.expires_at)
        if self._is_known(credentials.account, verified.signer):
            caller = self._caller(credentials.account, verified.signer, permissions)
        else:
            caller = await _contract_caller(verified, speaks)
            self._now_s = max(self._now_s, now_ms() // 1_000)
        if isinstance(caller, Reject):
            return caller
        if credentials.expires_at <= self._now_s:
            return reject(RejectCode.EXPIRED, "it expired while the chain was asked")
        # Last, so that nobody but the account can use up its nonces.
        used = self._nonces.take(
            credentials.account, credentials.nonce, credentials.expires_at, self._now_s
        )
        return used or caller

    def is_live(self, caller: Caller, now_ms: int) -> bool:
        """Whether a session key that was verified before still is one."""
        record = self._state.accounts.get(caller.account, _UNSEEN)
        return live_session(record, caller.signer, now_ms // 1_000) is not None

    def _is_known(self, account: str, signer: str | None) -> bool:
        sessions = self._state.accounts.get(account, _UNSEEN).sessions
        return signer is not None and (signer == account or signer in sessions)

    def _caller(self, account: str, signer: str | None, permissions: int) -> Caller | Reject:
        if signer == account:
            return Caller(account=account, signer=account)
        record = self._state.accounts.get(account, _UNSEEN)
        session = live_session(record, signer, self._now_s) if signer else None
        if session is None or signer is None or not session.permissions & permissions:
            return _unauthorized(account, signer)
        return Caller(account=account, signer=signer, permissions=session.permissions)

    def _maybe_older(self, expires_at: int) -> Reject:
        wait_s = self._started_at_s - (expires_at - LIFETIME_SECONDS_MAX)
        return reject(
            RejectCode.UNAUTHENTICATED,
            "this request may be older than the server, which restarted",
            hint=f"Sign again with expiresAt at least {wait_s} s later.",
            retry_after_ms=wait_s * 1_000,
        )


async def _contract_caller(verified: Verified[Request], speaks: Speaks) -> Caller | Reject:
    """The account itself, if its contract says so."""
    account = verified.document.account
    valid = await speaks(account, verified.digest, verified.signature)
    if isinstance(valid, Reject):
        return valid
    if not valid:
        return _unauthorized(account, verified.signer)
    return Caller(account=account, signer=account)


def _unauthorized(account: str, signer: str | None) -> Reject:
    return reject(
        RejectCode.NOT_AUTHORIZED, f"{signer or 'this signature'} may not ask this for {account}"
    )


def read_header(values: list[str]) -> Credentials | Reject:
    """Credentials from the header's values. Rejects: unauthenticated."""
    if len(values) != 1:
        return reject(RejectCode.UNAUTHENTICATED, f"send one {HEADER} header")
    value = values[0]
    if len(value) > HEADER_CHARS_MAX or not _FORM.fullmatch(value):
        return reject(RejectCode.UNAUTHENTICATED, f"{HEADER} is base64url")
    try:
        raw = base64.b64decode(value.rstrip("=") + "=" * (-len(value.rstrip("=")) % 4), b"-_")
    except binascii.Error:
        return reject(RejectCode.UNAUTHENTICATED, f"{HEADER} is base64url")
    return read_credentials(raw)


def read_credentials(raw: bytes | str) -> Credentials | Reject:
    """Credentials from JSON. Rejects: unauthenticated."""
    credentials = decode_json(raw, Credentials)
    if isinstance(credentials, Reject):
        return reject(RejectCode.UNAUTHENTICATED, credentials.message)
    return credentials


def _too_long(now_s: int) -> Reject:
    return reject(
        RejectCode.VALIDITY_TOO_LONG,
        f"expiresAt is at most {LIFETIME_SECONDS_MAX} s ahead; the market's time is {now_s}",
        hint="Take the time from GET /v1/market.",
    )


_UNSEEN: Final = Account()
