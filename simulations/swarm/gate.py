"""What the gateway does with a request, without HTTP: decode, admit, hand on, answer."""

from collections.abc import Callable
from typing import Any, Final

import msgspec

from intents.admission import Rules, Unverified, Verified, admit, check_form
from intents.bulk import UnverifiedBulk, admit_bulk
from intents.bundle import UnverifiedBundle, admit_bundle
from intents.document import Intent, Mandate, Offer
from intents.reject import Reject, RejectCode, reject
from intents.typed_data import digest
from simulations.swarm.door import door
from simulations.swarm.upstream import PROVIDER, RESOURCES, HeldKey, Vault
from solver.core.command import (
    Authority,
    CancelDocument,
    CarriedOffer,
    ClearedBook,
    EndLeases,
    KeyEnd,
    Leg,
    Limit,
    PoolKey,
    ProposeSolution,
    RetireKey,
    SubmitBundle,
    SubmitIntent,
    SubmitMandate,
    SubmitOffer,
)
from solver.core.document import IntentState, intent_record
from solver.core.quality import Floor
from solver.engine.award import AwardSigner
from solver.engine.sequencer import Applied, Sequencer, SequencerStopped
from solver.gateway.auction_line import AuctionLines
from solver.gateway.auction_line import Told as Reader
from solver.gateway.document import bind
from solver.gateway.owed import SpendingBody, SpendingTold
from solver.gateway.spending import receipt_command, spending_told
from solver.settlement.signatures import ContractSignatures
from solver.vault.fault import EgressFault
from solver.vault.operation import CallRequest
from solver.vault.proxy import Proxy

BODY_BYTES_MAX: Final = 16 * 1024


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """A request on the wire. `sender` is whoever signed it."""

    sender: str


class Publish(Message, frozen=True, kw_only=True):
    """POST of an intent or an offer."""

    kind: type[Intent] | type[Offer] | type[Mandate]
    body: bytes


class PublishBulk(Message, frozen=True, kw_only=True):
    """POST of intents with one signature."""

    body: bytes


class PublishBundle(Message, frozen=True, kw_only=True):
    """POST of intents that are bought together, or one of them."""

    body: bytes


class PublishUnder(Message, frozen=True, kw_only=True):
    """POST of unsigned intents under a mandate, whose secret the sender knows."""

    mandate: str
    intents: tuple[Intent, ...]


class Cancel(Message, frozen=True, kw_only=True):
    """Withdraw a document."""

    digest: str


class Done(Message, frozen=True, kw_only=True):
    """End an intent's leases."""

    intent: str


class Fetch(Message, frozen=True, kw_only=True):
    """A call on an intent."""

    intent: str
    request: CallRequest


class Owe(Message, frozen=True, kw_only=True):
    """What an account owes, which anyone may ask."""

    account: str


class Acknowledge(Message, frozen=True, kw_only=True):
    """A buyer's word for what it owes."""

    body: bytes


class Contribute(Message, frozen=True, kw_only=True):
    """A key for the pool."""

    key: str
    secret: bytes
    limits: tuple[Limit, ...]


class Revoke(Message, frozen=True, kw_only=True):
    """A key leaves."""

    key: str


class Look(Message, frozen=True, kw_only=True):
    """What is open, by what changed since it was told last; with `anew`, on a new connection."""

    anew: bool = False


class Propose(Message, frozen=True, kw_only=True):
    """A solution, and the offers that it brings as they would be posted."""

    auction: int
    snapshot: str
    books: tuple[ClearedBook, ...]
    offers: tuple[bytes, ...] = ()


class Served(msgspec.Struct, frozen=True, kw_only=True):
    """A call's answer. `units` is what was metered; None where it broke off."""

    call: str
    status: int
    body: bytes
    units: int | None


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """Open auctions, each in the line that a solver's socket would carry."""

    lines: tuple[str, ...]


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """An answer for each of many."""

    results: tuple[Applied | Reject, ...]


Answer = Applied | Served | Seen | Told | SpendingTold | Reject


class Gate:
    """One process's public face."""

    def __init__(
        self,
        sequencer: Sequencer,
        proxy: Proxy,
        vault: Vault,
        rules: Rules,
        awards: AwardSigner,
        *,
        signatures: ContractSignatures,
        on_receipt: Callable[[], None],
    ) -> None:
        self._sequencer = sequencer
        self._door = door(sequencer, rules, signatures)
        self._proxy = proxy
        self._vault = vault
        self._rules = rules
        self._awards = awards
        self._on_receipt = on_receipt
        self._lines = AuctionLines()
        self._readers: dict[str, Reader] = {}

    async def serve(self, message: Message) -> Answer:  # noqa: C901, PLR0911, PLR0912  one a route
        """Answer a request. Whatever this raises would be a 500."""
        submit = self._sequencer.submit
        match message:
            case Publish():
                return await self._publish(message)
            case PublishBulk():
                return await self._publish_bulk(message)
            case PublishBundle():
                return await self._publish_bundle(message)
            case PublishUnder():
                return await self._publish_under(message)
            case Cancel():
                command = CancelDocument(account=message.sender, digest=message.digest)
                return await submit(command)
            case Done():
                return await submit(EndLeases(account=message.sender, intent=message.intent))
            case Fetch():
                return await self._fetch(message)
            case Contribute():
                return await self._contribute(message)
            case Revoke():
                return await self._revoke(message)
            case Propose():
                return await self._propose(message)
            case Owe():
                return await self._owed(message)
            case Acknowledge():
                return await self._acknowledge(message)
            case Look():
                return self._look(message)
        raise TypeError(f"no such request: {message}")

    async def _publish(self, message: Publish) -> Answer:
        sent = _decoded(message.body, _FORMS[message.kind])
        if isinstance(sent, Reject):
            return sent
        verified = admit(sent, self._rules, self._now_s())
        if isinstance(verified, Reject):
            return verified
        bound = await bind(self._door, verified, message.sender)
        if isinstance(bound, Reject):
            return bound
        return await self._sequencer.submit(_submission(verified, *bound))

    async def _publish_bulk(self, message: PublishBulk) -> Answer:
        sent = _decoded(message.body, UnverifiedBulk)
        if isinstance(sent, Reject):
            return sent
        verified = admit_bulk(sent, self._rules, self._now_s())
        if isinstance(verified, Reject):
            return verified
        good = [_record(each) for each in verified if not isinstance(each, Reject)]
        results = iter(await self._sequencer.submit_many(good))
        return Told(
            results=tuple(each if isinstance(each, Reject) else next(results) for each in verified)
        )

    async def _publish_under(self, message: PublishUnder) -> Answer:
        commands = [
            SubmitIntent(
                intent=intent,
                digest="0x" + digest(self._rules.domain.prefix(), intent).hex(),
                signer=message.mandate,
                authority=Authority.MANDATE,
                signature="",
            )
            for intent in message.intents
            if check_form(intent, self._rules, self._now_s()) is None
            and intent.account == message.sender
        ]
        return Told(results=tuple(await self._sequencer.submit_many(commands)))

    def _now_s(self) -> int:
        return self._sequencer.now_ms() // 1_000

    async def _fetch(self, message: Fetch) -> Answer:
        record = self._sequencer.market.state.intents.get(message.intent)
        if record is None:
            return reject(RejectCode.LEASE_UNKNOWN)
        if record.document.account != message.sender:
            return reject(RejectCode.NOT_AUTHORIZED)
        answer = await self._proxy.call(message.intent, message.request, buyer=message.sender)
        if isinstance(answer, Reject):
            return answer
        body = b""
        async with answer:
            try:
                async for chunk in answer:
                    body += chunk
            except EgressFault:
                return Served(call=answer.call, status=answer.status, body=body, units=None)
        return Served(call=answer.call, status=answer.status, body=body, units=answer.units)

    async def _contribute(self, message: Contribute) -> Answer:
        if message.key in self._vault.every():
            return reject(RejectCode.KEY_DUPLICATE)
        self._vault.keys[message.key] = HeldKey(
            owner=message.sender, secret=message.secret, limits=message.limits
        )
        return await self._sequencer.submit(
            PoolKey(
                key=message.key,
                owner=message.sender,
                provider=PROVIDER.name,
                resources=RESOURCES,
                limits=message.limits,
            )
        )

    async def _revoke(self, message: Revoke) -> Answer:
        held = self._vault.keys.get(message.key)
        if held is not None and held.owner != message.sender:
            return reject(RejectCode.NOT_AUTHORIZED)
        self._vault.erase(message.key)
        return await self._sequencer.submit(RetireKey(key=message.key, reason=KeyEnd.REVOKED))

    async def _owed(self, message: Owe) -> Answer:
        told = spending_told(self._sequencer.market.state, message.account, self._awards)
        try:
            await self._sequencer.durable()
        except SequencerStopped:
            return reject(RejectCode.SHUTTING_DOWN)
        return told

    async def _acknowledge(self, message: Acknowledge) -> Answer:
        sent = _decoded(message.body, SpendingBody)
        if isinstance(sent, Reject):
            return sent
        self._on_receipt()
        command = await receipt_command(self._door, sent, message.sender)
        if isinstance(command, Reject):
            return command
        return await self._sequencer.submit(command)

    async def _publish_bundle(self, message: PublishBundle) -> Answer:
        sent = _decoded(message.body, UnverifiedBundle)
        if isinstance(sent, Reject):
            return sent
        verified = admit_bundle(sent, self._rules, self._now_s())
        if isinstance(verified, Reject):
            return verified
        first, terms = verified.legs[0], verified.terms
        own = first.signer == first.document.account
        return await self._sequencer.submit(
            SubmitBundle(
                digest=verified.digest,
                any_of=terms.any,
                floor=Floor(success_min=terms.success_min, latency_max=terms.latency_max),
                legs=tuple(
                    Leg(intent=leg.document, digest=leg.digest, proof=leg.proof)
                    for leg in verified.legs
                ),
                signer=first.signer or "",
                authority=Authority.KEY if own else Authority.SESSION,
                signature=first.signature,
            )
        )

    async def _propose(self, message: Propose) -> Answer:
        brought: list[CarriedOffer] = []
        for body in message.offers:
            sent = _decoded(body, Unverified[Offer])
            verified = sent if isinstance(sent, Reject) else self._admitted(sent)
            if isinstance(verified, Reject):
                return verified
            bound = await bind(self._door, verified, message.sender)
            if isinstance(bound, Reject):
                return bound
            submitted = _submission(verified, *bound)
            assert isinstance(submitted, SubmitOffer)
            fields = msgspec.structs.asdict(submitted)
            del fields["at_ms"]
            brought.append(CarriedOffer(**fields))
        return await self._sequencer.submit(
            ProposeSolution(
                auction=message.auction,
                solver=message.sender,
                snapshot=message.snapshot,
                books=message.books,
                offers=tuple(brought),
            )
        )

    def _admitted(self, sent: Unverified[Offer]) -> Verified[Offer] | Reject:
        return admit(sent, self._rules, self._now_s())

    def _look(self, message: Look) -> Seen:
        """A process that was started again knows nobody: it tells everything in full."""
        if message.anew or message.sender not in self._readers:
            reader = self._readers[message.sender] = Reader(self._lines, message.sender)
            reader.ask_deltas(full=False)
        reader, state = self._readers[message.sender], self._sequencer.market.state
        numbers = [number for number, auction in state.auctions.items() if not auction.closed]
        return Seen(lines=tuple(reader.line(state, number) for number in numbers))


_FORMS: Final[dict[type, Any]] = {
    Intent: Unverified[Intent],
    Offer: Unverified[Offer],
    Mandate: Unverified[Mandate],
}


def _decoded(body: bytes, form: Any) -> Any:  # noqa: ANN401  of that form, or a Reject
    if len(body) > BODY_BYTES_MAX:
        return reject(RejectCode.TOO_LARGE)
    try:
        return msgspec.json.decode(body, type=form)
    except msgspec.MsgspecError as error:
        return reject(RejectCode.MALFORMED, str(error))
    except (UnicodeDecodeError, RecursionError):
        return reject(RejectCode.MALFORMED)


def _submission(
    verified: Verified[Any], signer: str, authority: Authority
) -> SubmitIntent | SubmitOffer | SubmitMandate:
    document = verified.document
    terms: dict[str, Any] = {
        "digest": verified.digest,
        "signer": signer,
        "authority": authority,
        "signature": verified.signature,
    }
    if isinstance(document, Intent):
        return SubmitIntent(intent=document, **terms)
    if isinstance(document, Mandate):
        return SubmitMandate(mandate=document, **terms)
    return SubmitOffer(offer=document, **terms)


def _record(verified: Verified[Intent]) -> IntentState:
    """As the gateway submits many: without a command for each."""
    own = verified.signer == verified.document.account
    return intent_record(
        verified.document,
        digest=verified.digest,
        signer=verified.signer or "",
        authority=Authority.KEY if own else Authority.SESSION,
        signature=verified.signature,
        proof=verified.proof,
    )
