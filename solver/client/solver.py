"""What a solver does: see every auction, propose fills, hear what became of them."""

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final

import aiohttp
import msgspec

from intents.signature import SigningKey
from solver.client.contributor import SignedOffer
from solver.client.fault import MarketFault, Rejected, Unreachable
from solver.client.market import ATTEMPTS_MAX, Identity, Market, may_repeat, pause_seconds
from solver.client.model import Auction, Verdict
from solver.client.record import difference_of, snapshot_of
from solver.core.auction import Snapshot, Solution
from solver.core.difference import DifferenceMisfit, applied

TARGET: Final = "/v1/solve"
AUCTIONS_WAITING_MAX: Final = 256
VERDICTS_KEPT_MAX: Final = 1_024
SNAPSHOTS_KEPT_MAX: Final = 8
"""Of the newest auctions: differences are from one of these."""


class Solver:
    """A solver. With `account`, `key` is a session key of that account.

    async with Solver(market, key).connect() as desk:
        async for auction in desk:
            for solution in my_strategy(auction.snapshot):
                await desk.propose(auction, solution)
    """

    def __init__(self, market: Market, key: SigningKey, account: str | None = None) -> None:
        self._market = market
        self._identity = Identity.of(key, account)

    @asynccontextmanager
    async def connect(self) -> AsyncIterator["Desk"]:
        """A place in the competition until the block is left. Raises Unreachable.

        A market that only just started refuses what may be older than itself: that is
        signed again by itself, on a new connection.
        """
        async with AsyncExitStack() as sockets:

            async def reach() -> aiohttp.ClientWebSocketResponse:
                socket = await sockets.enter_async_context(self._market.socket(TARGET))
                hello = self._market.credentials(self._identity, "GET", TARGET, b"")
                await socket.send_str(msgspec.json.encode(hello).decode())
                await socket.send_str(_ask_deltas(full=False))
                return socket

            desk = Desk(await reach(), reach)
            task = self._market.keep(desk.read())
            try:
                yield desk
            finally:
                task.cancel()
                await asyncio.wait({task})


class Desk:
    """One connection. Iterate over it for auctions; old ones give way to new ones."""

    def __init__(
        self,
        socket: aiohttp.ClientWebSocketResponse,
        reach: Callable[[], Awaitable[aiohttp.ClientWebSocketResponse]],
    ) -> None:
        self._socket = socket
        self._reach = reach
        self._welcome = False
        self._auctions: asyncio.Queue[Auction | None] = asyncio.Queue(AUCTIONS_WAITING_MAX)
        # What was sent and is not answered yet: a solution, or None for a wish for deltas.
        self._answers: deque[asyncio.Future[str] | None] = deque([None])
        self._snapshots: OrderedDict[int, Snapshot] = OrderedDict()
        self._asked_anew = False
        self._verdicts: OrderedDict[int, list[Verdict]] = OrderedDict()
        self._accepted: OrderedDict[int, int] = OrderedDict()
        self._judged = asyncio.Condition()
        self._ended: Exception | None = None

    async def __aiter__(self) -> AsyncIterator[Auction]:
        while (auction := await self._auctions.get()) is not None:
            yield auction
        if isinstance(self._ended, Rejected):
            raise self._ended

    async def propose(
        self, auction: Auction, solution: Solution, offers: Sequence[SignedOffer] = ()
    ) -> str:
        """A sealed bid for all books of the solution together, or none of them.

        `offers` (`Contributor.sign_offer`) are of the solver's own account and stand for this
        solution alone, which may fill from them by their digests.

        Returns the bid's id once it is in; raises Rejected with the reason if not.
        """
        if self._ended is not None:
            raise self._ended
        answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._answers.append(answer)
        message = {
            "type": "solution",
            "auction": auction.number,
            "snapshot": auction.snapshot_hash,
            "books": solution.books,
            "offers": [{"document": one.document, "signature": one.signature} for one in offers],
        }
        await self._socket.send_str(msgspec.json.encode(message).decode())
        return await answer

    async def verdicts(self, auction: Auction, *, timeout_seconds: float = 60) -> list[Verdict]:
        """What became of the solutions that this desk sent, best first; of none, nothing.

        Raises TimeoutError.
        """
        number = auction.number

        def is_complete() -> bool:
            return len(self._verdicts.get(number, ())) >= self._accepted.get(number, 0)

        async with asyncio.timeout(timeout_seconds), self._judged:
            await self._judged.wait_for(lambda: is_complete() or self._ended)
        if not is_complete() and self._ended is not None:
            raise self._ended
        return self._verdicts.get(number, [])

    async def read(self) -> None:
        """Take in what the market says until it stops. `Solver.connect` runs this."""
        try:
            await self._hear_all()
        except MarketFault as fault:
            self._ended = fault
        finally:
            await self._end()

    async def _hear_all(self) -> None:
        """Until the connection ends; one that was refused for its time only is made anew."""
        for attempt in range(1, ATTEMPTS_MAX):
            try:
                return await self._hear()
            except Rejected as refused:
                if self._welcome or not may_repeat(refused, repeatable=True):
                    raise
                await asyncio.sleep(pause_seconds(refused, attempt))
                self._socket = await self._reach()
                self._answers = deque([None])
        return await self._hear()

    async def _hear(self) -> None:
        async for message in self._socket:
            if message.type is aiohttp.WSMsgType.TEXT:
                await self._take(msgspec.json.decode(message.data))
                self._welcome = True

    async def _take(self, told: dict[str, Any]) -> None:
        match told.get("type"):
            case "auction":
                self._open(snapshot_of(told["snapshot"]), told["snapshotHash"])
            case "delta":
                await self._open_by_delta(told)
            case "deltas":
                self._answers.popleft()
                self._asked_anew = False
            case "accepted":
                self._count(told["auction"])
                self._resolve(told["bid"])
            case "rejected":
                self._resolve(Rejected(told["code"], told["message"], told["hint"]))
            case "judged":
                await self._judge(told)
            case _:
                raise Rejected(
                    told.get("code", ""),
                    told.get("message", ""),
                    told.get("hint", ""),
                    retry_after_ms=told.get("retryAfterMs"),
                )

    def _open(self, snapshot: Snapshot, digest: str) -> None:
        """The hash is checked, not believed; what was told before is not told again."""
        if snapshot.digest() != digest:
            raise Rejected("snapshot_mismatch", "the snapshot does not have the hash it came with")
        if snapshot.auction in self._snapshots:
            return
        self._snapshots[snapshot.auction] = snapshot
        if len(self._snapshots) > SNAPSHOTS_KEPT_MAX:
            self._snapshots.popitem(last=False)
        if self._auctions.full():
            self._auctions.get_nowait()
        self._auctions.put_nowait(
            Auction(number=snapshot.auction, snapshot=snapshot, snapshot_hash=digest)
        )

    async def _open_by_delta(self, told: dict[str, Any]) -> None:
        """Where that does not lead to the hash, ask once for what is open in full."""
        base = self._snapshots.get(told["base"])
        try:
            snapshot = None if base is None else applied(base, difference_of(told["delta"]))
        except DifferenceMisfit:
            snapshot = None
        if snapshot is not None and snapshot.digest() == told["snapshotHash"]:
            self._open(snapshot, told["snapshotHash"])
        elif not self._asked_anew:
            self._asked_anew = True
            self._answers.append(None)
            await self._socket.send_str(_ask_deltas(full=True))

    def _resolve(self, told: str | Exception) -> None:
        answer = self._answers.popleft()
        if answer is None or answer.done():
            return
        if isinstance(told, str):
            answer.set_result(told)
        else:
            answer.set_exception(told)

    def _count(self, auction: int) -> None:
        self._accepted[auction] = self._accepted.get(auction, 0) + 1
        if len(self._accepted) > VERDICTS_KEPT_MAX:
            self._accepted.popitem(last=False)

    async def _judge(self, told: dict[str, Any]) -> None:
        verdict = msgspec.convert({**told, "score": int(told["score"])}, Verdict)
        async with self._judged:
            self._verdicts.setdefault(verdict.auction, []).append(verdict)
            if len(self._verdicts) > VERDICTS_KEPT_MAX:
                self._verdicts.popitem(last=False)
            self._judged.notify_all()

    async def _end(self) -> None:
        self._ended = self._ended or Unreachable("the market closed the connection")
        while self._answers:
            self._resolve(self._ended)
        if self._auctions.full():
            self._auctions.get_nowait()
        self._auctions.put_nowait(None)
        async with self._judged:
            self._judged.notify_all()


def _ask_deltas(*, full: bool) -> str:
    """Auctions by what changed, from now on."""
    return msgspec.json.encode({"type": "deltas", "full": full}).decode()
