"""GET /v1/solve: solvers see every auction's snapshot and answer before its deadline.

The first message is a signed request (GET /v1/solve, empty body); it says for which
account the solver bids. After that the server sends auctions and verdicts, the solver
sends solutions, and every one is answered: accepted, or rejected with its code. A solver that
asks for deltas is told what changed since the auction before.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

import msgspec
from aiohttp import WSCloseCode, WSMessage, WSMsgType

from intents.admission import Unverified
from intents.document import Offer
from intents.reject import Reject, RejectCode, reject
from solver.core.command import CarriedOffer, ClearedBook, ProposeSolution, SolutionFill
from solver.core.event import AuctionOpened, SolutionAccepted, SolutionJudged
from solver.core.state import MAY_SIGN
from solver.engine.feed import CursorTooOld
from solver.gateway.answer import error_body
from solver.gateway.auction_line import Told
from solver.gateway.auth import Caller, read_credentials
from solver.gateway.channel import CLOSE_TOO_OLD, Channel, first_of, open_channel
from solver.gateway.competition import (
    AcceptedMessage,
    AcceptedTold,
    DeltasAcceptedMessage,
    DeltasMessage,
    JudgedMessage,
    ProposedBook,
    RejectedMessage,
    SolutionBody,
    SolutionMessage,
)
from solver.gateway.contract import authenticate
from solver.gateway.document import bind
from solver.gateway.gateway import Answer, Gateway, Inbound
from solver.gateway.limit import limited
from solver.gateway.wire import (
    Nothing,
)
from solver.verifier.decode import decode_json

TARGET: Final = "/v1/solve"
MESSAGES: Final[Any] = SolutionMessage | DeltasMessage
MESSAGE_BYTES_MAX: Final = 1024 * 1024
STEP_MAX: Final = 256
HELLO_SECONDS_MAX: Final = 10


async def solve(inbound: Inbound[Nothing, Nothing]) -> Answer:
    """Serve a solver over a WebSocket. Rejects: busy."""
    gateway = inbound.gateway
    async with open_channel(inbound, MESSAGE_BYTES_MAX, gateway.load.solvers) as channel:
        if isinstance(channel, Reject):
            return channel
        await _serve(channel, inbound.sender)
        return channel.socket


async def submit_solution(inbound: Inbound[SolutionBody, Nothing]) -> Answer:
    """Bid without a socket. Rejects like `propose_solution` of the core."""
    number, body = int(inbound.path("number")), inbound.body
    bid = await _submit(inbound.gateway, number, inbound.caller, body, inbound.sender)
    return bid if isinstance(bid, Reject) else AcceptedTold(auction=number, bid=bid)


async def _serve(channel: Channel, sender: str) -> None:
    gateway = channel.gateway
    caller = await _hello(channel, sender)
    if isinstance(caller, Reject):
        await channel.send(_text(error_body(caller)))
        await channel.close(WSCloseCode.POLICY_VIOLATION, caller.code.encode())
        return
    told = Told(gateway.auction_lines, sender)
    # Before anything else is awaited: no auction falls between the two.
    cursor = gateway.feed.seq
    if not await _tell_open(channel, told):
        return
    await first_of(
        lambda: _tell(channel, caller.account, told, cursor),
        lambda: _hear(channel, caller, told),
    )


async def _tell_open(channel: Channel, told: Told) -> bool:
    """All auctions that are open now; False if the solver does not read."""
    state = channel.gateway.state
    for number in [number for number, auction in state.auctions.items() if not auction.closed]:
        line = told.line(state, number)
        if line and not await channel.send(line):
            return False
    return True


async def _hello(channel: Channel, sender: str) -> Caller | Reject:
    gateway = channel.gateway
    try:
        async with asyncio.timeout(HELLO_SECONDS_MAX):
            message = await channel.socket.receive()
    except TimeoutError:
        return reject(RejectCode.UNAUTHENTICATED, "the first message did not come")
    if message.type is not WSMsgType.TEXT:
        return reject(RejectCode.UNAUTHENTICATED, "the first message is a signed request")
    credentials = read_credentials(message.data)
    if isinstance(credentials, Reject):
        return credentials
    return await authenticate(
        gateway,
        credentials,
        method="GET",
        target=TARGET,
        body=b"",
        permissions=MAY_SIGN,
        sender=sender,
    )


async def _tell(channel: Channel, solver: str, told: Told, cursor: int) -> None:
    """Auctions as they open, and what became of this solver's solutions."""
    gateway = channel.gateway
    while True:
        try:
            entries = await gateway.feed.wait(cursor, STEP_MAX)
        except CursorTooOld:
            await channel.close(CLOSE_TOO_OLD, b"you fell behind")
            return
        for entry in entries:
            line = _line_of(gateway, entry.event, solver, told)
            if line and not await channel.send(line):
                return
        cursor = entries[-1].seq


def _line_of(gateway: Gateway, event: object, solver: str, told: Told) -> str:
    match event:
        case AuctionOpened():
            return told.line(gateway.state, event.auction)
        case SolutionJudged() if event.solver == solver:
            return _text(
                JudgedMessage(
                    auction=event.auction,
                    bid=event.bid,
                    rank=event.rank,
                    score=str(event.score),
                    code=event.reason.code if event.reason else "",
                    reason=event.reason.message if event.reason else "",
                )
            )
    return ""


async def _hear(channel: Channel, caller: Caller, told: Told) -> None:
    """One message at a time, each answered; a socket that ends ends this."""
    async for message in channel:
        line = await _answer(channel.gateway, caller, told, message)
        if not await channel.send(_text(line)):
            return
        if told.take_anew() and not await _tell_open(channel, told):
            return


async def _answer(gateway: Gateway, caller: Caller, told: Told, message: WSMessage) -> Any:  # noqa: ANN401
    sent = _read(gateway, caller, message)
    if isinstance(sent, Reject):
        return _rejected(0, sent)
    if isinstance(sent, DeltasMessage):
        told.ask_deltas(full=sent.full)
        return DeltasAcceptedMessage()
    if not _may_still_bid(gateway, caller):
        return _rejected(sent.auction, reject(RejectCode.NOT_AUTHORIZED, "your session ended"))
    bid = await _submit(gateway, sent.auction, caller, sent, told.sender)
    if isinstance(bid, Reject):
        return _rejected(sent.auction, bid)
    return AcceptedMessage(auction=sent.auction, bid=bid)


def _read(
    gateway: Gateway, caller: Caller, message: WSMessage
) -> SolutionMessage | DeltasMessage | Reject:
    if message.type is not WSMsgType.TEXT:
        return reject(RejectCode.MALFORMED, "send text")
    refused = limited(gateway.rates.accounts, caller.account, gateway.now_ms())
    if refused is not None:
        return refused
    sent: SolutionMessage | DeltasMessage | Reject = decode_json(message.data, MESSAGES)
    return sent


async def _submit(
    gateway: Gateway,
    auction: int,
    solver: Caller,
    sent: SolutionMessage | SolutionBody,
    sender: str,
) -> str | Reject:
    """The bid's id once it is in."""
    offers = await _verified(gateway, sent.offers, sender)
    if isinstance(offers, Reject):
        return offers
    result = await gateway.sequencer.submit(
        ProposeSolution(
            auction=auction,
            solver=solver.account,
            snapshot=sent.snapshot,
            books=tuple(map(_cleared, sent.books)),
            offers=offers,
        )
    )
    if isinstance(result, Reject):
        return result
    (accepted,) = [event for event in result.events if isinstance(event, SolutionAccepted)]
    return accepted.bid


async def _verified(
    gateway: Gateway, offers: Sequence[Unverified[Offer]], sender: str
) -> tuple[CarriedOffer, ...] | Reject:
    """What the solution brings, each as POST /v1/offers would take it."""
    carried: list[CarriedOffer] = []
    for one in offers:
        raw = msgspec.json.encode(one)
        verified = await gateway.verifiers.offer(raw, gateway.now_ms() // 1_000)
        if isinstance(verified, Reject):
            return verified
        bound = await bind(gateway, verified, sender)
        if isinstance(bound, Reject):
            return bound
        carried.append(
            CarriedOffer(
                offer=verified.document,
                digest=verified.digest,
                signer=bound[0],
                authority=bound[1],
                signature=verified.signature,
            )
        )
    return tuple(carried)


def _cleared(book: ProposedBook) -> ClearedBook:
    fills = tuple(
        SolutionFill(intent=fill.intent, offer=fill.offer, units=fill.units) for fill in book.fills
    )
    return ClearedBook(resource=book.resource, tick=book.tick, fills=fills)


def _may_still_bid(gateway: Gateway, caller: Caller) -> bool:
    return caller.permissions is None or gateway.authenticator.is_live(caller, gateway.now_ms())


def _rejected(auction: int, refused: Reject) -> RejectedMessage:
    return RejectedMessage(
        auction=auction, code=refused.code, message=refused.message, hint=refused.hint
    )


def _text(message: msgspec.Struct) -> str:
    return msgspec.json.encode(message).decode()
