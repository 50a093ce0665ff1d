"""Mandates: registered once over a signature, then used by whoever knows their secret."""

from typing import Any

from intents.admission import Unverified, Verified, admit
from intents.document import Intent, Mandate
from intents.reject import Reject, RejectCode, reject
from solver.core.command import CancelDocument, SubmitMandate
from solver.core.state import MandateState
from solver.gateway.document import bind, may_withdraw
from solver.gateway.gateway import Answer, Gateway, Inbound
from solver.gateway.intake import Mandated, take_paid, told, within_rate
from solver.gateway.mac import HEADER, Mac, read_mac
from solver.gateway.many import MandateSecretTold, OutcomeTold
from solver.gateway.view import mandate_told
from solver.gateway.wire import Nothing, ResultTold
from solver.verifier.batch import Kind


async def submit_mandate(inbound: Inbound[Unverified[Mandate], Nothing]) -> Answer:
    """Register a mandate and tell its secret. To register it again tells it again.

    The mandate itself becomes public when it settles, so only a signed request of the account
    or of the session key that signed it is told the secret.
    """
    gateway = inbound.gateway
    verified = admit(inbound.body, gateway.rules, gateway.now_ms() // 1_000)
    if isinstance(verified, Reject):
        return verified
    if verified.document.account != inbound.caller.account:
        return reject(RejectCode.NOT_AUTHORIZED, "the mandate is another account's")
    if verified.digest not in gateway.state.mandates:
        refused = await _register(inbound, verified)
        if refused is not None:
            return refused
    return _secret_told(inbound, gateway.state.mandates[verified.digest])


async def _register(
    inbound: Inbound[Unverified[Mandate], Nothing], verified: Verified[Mandate]
) -> Reject | None:
    """Have a mandate that its sender may use accepted."""
    bound = await bind(inbound.gateway, verified, inbound.sender)
    if isinstance(bound, Reject):
        return bound
    signer, authority = bound
    if not inbound.caller.may_spend_by(signer):
        return _anothers()
    result = await inbound.gateway.sequencer.submit(
        SubmitMandate(
            mandate=verified.document,
            digest=verified.digest,
            signer=signer,
            authority=authority,
            signature=verified.signature,
        )
    )
    return result if isinstance(result, Reject) else None


async def replace_secret(inbound: Inbound[Nothing, Nothing]) -> Answer:
    """Tell a new secret of a mandate; from now on no other counts."""
    found = _find(inbound.gateway, inbound.path("digest"))
    if isinstance(found, Reject):
        return found
    if found.document.account != inbound.caller.account:
        return reject(RejectCode.NOT_AUTHORIZED, "the mandate is another account's")
    if not inbound.caller.may_spend_by(found.signer):
        return _anothers()
    if not found.live:
        return reject(RejectCode.MANDATE_ENDED, found.digest)
    await inbound.gateway.macs.replace_secret(found.digest)
    return _secret_told(inbound, found)


async def read_mandate(inbound: Inbound[Nothing, Nothing]) -> Answer:
    """One mandate, without its secret."""
    found = _find(inbound.gateway, inbound.path("digest"))
    return found if isinstance(found, Reject) else mandate_told(found)


async def end_mandate(inbound: Inbound[Nothing, Nothing]) -> Answer:
    """Withdraw a mandate, and what is open under it."""
    found = _find(inbound.gateway, inbound.path("digest"))
    if isinstance(found, Reject):
        return found
    if not may_withdraw(inbound.caller, found):
        return reject(RejectCode.NOT_AUTHORIZED, "it is not yours to withdraw")
    result = await inbound.gateway.sequencer.submit(
        CancelDocument(account=inbound.caller.account, digest=found.digest)
    )
    return result if isinstance(result, Reject) else ResultTold()


async def submit_mandated(inbound: Inbound[tuple[Intent, ...], Nothing]) -> Answer:
    """Submit intents under a mandate; the MAC says who sends them."""
    said = read_mac(inbound.request.headers.getall(HEADER, []))
    if isinstance(said, Reject):
        return said
    gateway, raw, sender = inbound.gateway, inbound.raw, inbound.sender
    refused = within_rate(gateway, Kind.MANDATED, raw, sender)
    digest = inbound.path("digest")
    return refused or told(await take_mandated(gateway, digest, said, raw, sender))


async def take_mandated(
    gateway: Gateway, digest: str, said: Mac, raw: bytes, sender: str, *, patient: bool = False
) -> list[OutcomeTold] | Reject:
    """Take a body of intents under a mandate.

    Rejects as a whole: mandate_unknown, unauthenticated, replayed, mandate_ended, busy,
    malformed, too_large.
    """
    found = _find(gateway, digest)
    if isinstance(found, Reject):
        return found
    refused = gateway.macs.check(digest, said, raw, gateway.now_ms())
    if refused is not None:
        return refused
    if not found.live:
        return reject(RejectCode.MANDATE_ENDED, digest)
    mandated = Mandated(digest=digest, account=found.document.account)
    return await take_paid(gateway, Kind.MANDATED, raw, sender, mandated=mandated, patient=patient)


def _find(gateway: Gateway, digest: str) -> MandateState | Reject:
    return gateway.state.mandates.get(digest) or reject(RejectCode.MANDATE_UNKNOWN, digest)


def _secret_told(inbound: Inbound[Any, Nothing], found: MandateState) -> Answer:
    if not inbound.caller.may_spend_by(found.signer):
        return _anothers()
    secret = inbound.gateway.macs.secret_of(found.digest).hex()
    return MandateSecretTold(mandate=mandate_told(found), secret=secret)


def _anothers() -> Reject:
    return reject(RejectCode.NOT_AUTHORIZED, "another key of the account signed it")
