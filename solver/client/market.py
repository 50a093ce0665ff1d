"""A connection to one market: requests, signed where they must be, and the feed.

Retried, a bounded number of times with growing pauses, is what the market refused before
doing anything (rates, load, a restart), and, where repeating changes nothing, what got no
answer. Every attempt is signed anew.
"""

import asyncio
import base64
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any, Final, Self, TypeVar
from urllib.parse import urlencode

import aiohttp
import msgspec
from tiny_keccak import keccak256
from yarl import URL

from intents.bound import NONCE_MAX
from intents.document import Document, Request
from intents.reject import Reject
from intents.signature import SigningKey, decode_signature, recover
from intents.typed_data import Domain, digest
from solver.client.fault import MarketFault, Rejected, Unexpected, Unreachable
from solver.client.model import Event, Now, Page, Providers, Signing

M = TypeVar("M")
P = TypeVar("P", bound=Page)

ATTEMPTS_MAX: Final = 5
PAUSE_SECONDS_MAX: Final = 5.0
FAREWELL_SECONDS_MAX: Final = 5.0
SIGNED_SECONDS: Final = 58
"""A little less than the market allows, as no two clocks agree."""
REFUSED_BEFORE: Final = frozenset({"rate_limited", "busy"})
PAGE: Final = 200
"""Of a list: as much as a market tells at once."""
ANSWER_BYTES_MAX: Final = 64 * 1024 * 1024


class _Error(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    code: str
    message: str
    hint: str = ""
    retry_after_ms: int | None = None


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """A key and the account that it signs for: its own, or one it is a session key of."""

    key: SigningKey
    account: str

    @classmethod
    def of(cls, key: SigningKey, account: str | None) -> "Identity":
        """The key's own account unless another is named."""
        return cls(key=key, account=(account or key.address).lower())


class Market:
    """`async with Market("http://127.0.0.1:8421") as market:`."""

    def __init__(self, url: str, *, timeout_seconds: float = 30) -> None:
        self.url: Final = url.rstrip("/")
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds)
        self._newest_ms = 0
        self._newest_nonce = 0
        self.metered_max = 0
        """What an intent may cost for its fills to be metered, as of `now`."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._farewells: list[Callable[[], Awaitable[None]]] = []

    @classmethod
    def local(cls, data_dir: str | Path = ".keyfill") -> Self:
        """The market that `keyfill up` runs on a data folder. Raises Unreachable."""
        try:
            told = msgspec.json.decode((Path(data_dir) / "node.json").read_bytes())
            return cls(told["url"])
        except (OSError, msgspec.MsgspecError, KeyError) as error:
            raise Unreachable(f"no market in {data_dir}: run `keyfill up`") from error

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            timeout=self._timeout, cookie_jar=aiohttp.DummyCookieJar()
        )
        try:
            self.signing = await self.get("/v1/eip712", Signing)
            await self.now()
        except BaseException:
            await self._session.close()
            raise
        self.domain = Domain(
            chain_id=self.signing.domain.chain_id,
            verifying_contract=self.signing.domain.verifying_contract,
        )
        self._prefix = self.domain.prefix()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        for farewell in self._farewells if kind is None else ():
            with suppress(MarketFault, TimeoutError):
                async with asyncio.timeout(FAREWELL_SECONDS_MAX):
                    await farewell()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._session.close()

    # -- what anyone may ask

    async def now(self) -> Now:
        """The market now; also sets our clock by the market's."""
        now = await self.get("/v1/market", Now)
        self.metered_max = now.metered_max
        self._ahead_s = now.time_ms / 1_000 - time.time()
        return now

    async def providers(self) -> Providers:
        """Whose keys are taken, and on which terms."""
        return await self.get("/v1/providers", Providers)

    def time_s(self) -> int:
        """The market's time, by our clock."""
        return self.time_ms() // 1_000

    def time_ms(self) -> int:
        """The same in milliseconds."""
        return int((time.time() + self._ahead_s) * 1_000)

    def next_ms(self) -> int:
        """The same, and higher at each call, though clocks are set back."""
        self._newest_ms = max(self._newest_ms + 1, self.time_ms())
        return self._newest_ms

    def next_nonce(self) -> int:
        """A nonce for a document: the market's time in microseconds, higher at each call.

        A market remembers the highest nonces of an account one by one, and takes it that lower
        ones were used; so these are never too low.
        """
        now_us = int((time.time() + self._ahead_s) * 1_000_000)
        self._newest_nonce = max(self._newest_nonce + 1, now_us)
        return self._newest_nonce

    @asynccontextmanager
    async def feed(
        self, cursor: int = 0, account: str | None = None
    ) -> AsyncIterator[AsyncIterator[Event]]:
        """Events after a cursor, then live. Raises Rejected (cursor_too_old)."""
        query = {"cursor": str(cursor)} | ({"account": account} if account else {})
        async with self.socket(f"/v1/feed?{urlencode(query)}") as socket:
            yield _events(socket)

    # -- requests

    async def get(
        self, path: str, kind: type[M], *, signed_by: Identity | None = None, **query: str | int
    ) -> M:
        """A GET; safe to repeat."""
        target = f"{path}?{urlencode(query)}" if query else path
        return await self.request("GET", target, kind, signed_by=signed_by, repeatable=True)

    async def pages(
        self, path: str, kind: type[P], *, signed_by: Identity | None = None, **query: str | int
    ) -> AsyncIterator[P]:
        """All parts of a list, each asked for as it is come to. Raises as `get` does."""
        after: dict[str, str] = {}
        while True:
            page = await self.get(path, kind, signed_by=signed_by, **query, **after)
            yield page
            if page.next is None:
                return
            after = {"after": page.next}

    async def submit(self, path: str, digest: str, body: object, kind: type[M]) -> M:
        """Submit a signed document; what the market has of it, also if it had it before.

        Where no answer comes, the fault names it: it may be there all the same.
        """
        try:
            try:
                return await self.request("POST", path, kind, body=body, repeatable=True)
            except Rejected as refused:
                # An attempt whose answer was lost may have got through.
                if refused.code != "already_known":
                    raise
                return await self.get(f"{path}/{digest}", kind)
        except (Unreachable, Unexpected) as fault:
            told = f"{fault}; the market may have {digest} all the same"
            raise type(fault)(told) from fault

    async def request(
        self,
        method: str,
        target: str,
        kind: type[M],
        *,
        body: object = None,
        signed_by: Identity | None = None,
        headers: Callable[[bytes], dict[str, str]] | None = None,
        repeatable: bool,
    ) -> M:
        """A request and its decoded answer. Raises Rejected, Unreachable, Unexpected.

        `headers` makes what an attempt needs beside the usual, given the body's bytes.
        """
        raw = b"" if body is None else msgspec.json.encode(body)
        attempt = 0
        while True:
            attempt += 1
            try:
                sent = self._headers(method, target, raw, signed_by)
                sent |= {} if headers is None else headers(raw)
                return await self._once(method, target, kind, raw, sent)
            except MarketFault as fault:
                if attempt >= ATTEMPTS_MAX or not may_repeat(fault, repeatable=repeatable):
                    raise
                await asyncio.sleep(pause_seconds(fault, attempt))

    def sign(self, key: SigningKey, document: Document) -> tuple[str, str]:
        """(digest, signature) of a document for this market."""
        hashed = digest(self._prefix, document)
        return "0x" + hashed.hex(), key.sign(hashed)

    def digest_of(self, document: Document) -> str:
        """The id of a document in this market."""
        return "0x" + digest(self._prefix, document).hex()

    def signer_of(self, document: Document, signature: str) -> str | None:
        """Who signed a document for this market; None for no valid signature."""
        raw = decode_signature(signature)
        found = raw if isinstance(raw, Reject) else recover(digest(self._prefix, document), raw)
        return None if isinstance(found, Reject) else found

    def credentials(
        self, identity: Identity, method: str, target: str, raw: bytes
    ) -> dict[str, Any]:
        """A signed request, as it goes into a header or a socket's first message."""
        document = Request(
            account=identity.account,
            method=method,
            target=target,
            body_hash="0x" + keccak256(raw).hex(),
            nonce=secrets.randbelow(NONCE_MAX + 1),
            expires_at=self.time_s() + SIGNED_SECONDS,
        )
        _, signature = self.sign(identity.key, document)
        return {
            "account": document.account,
            "nonce": document.nonce,
            "expiresAt": document.expires_at,
            "signature": signature,
        }

    @asynccontextmanager
    async def open(
        self, method: str, target: str, *, raw: bytes, headers: dict[str, str]
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """One exchange, its body not read yet: see `chunks`. Raises Unreachable."""
        with _reaching(self.url):
            response = await self._session.request(
                method,
                URL(self.url + target, encoded=True),
                data=raw or None,
                headers=headers,
                allow_redirects=False,
            )
        try:
            yield response
        finally:
            response.release() if response.content.at_eof() else response.close()

    async def chunks(self, response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
        """A body as it comes. Raises Unreachable where it breaks off."""
        with _reaching(self.url):
            async for chunk in response.content.iter_any():
                yield chunk

    @asynccontextmanager
    async def socket(self, target: str) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        """A WebSocket. Raises Unreachable."""
        with _reaching(self.url):
            socket = await self._session.ws_connect(
                URL(self.url + target, encoded=True), heartbeat=20, max_msg_size=ANSWER_BYTES_MAX
            )
        try:
            yield socket
        finally:
            await socket.close()

    def keep(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """Run something until it ends or this market is left."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def on_leaving(self, farewell: Callable[[], Awaitable[None]]) -> None:
        """Have something done when this market is left, if that takes no long time."""
        self._farewells.append(farewell)

    def _headers(
        self, method: str, target: str, raw: bytes, signed_by: Identity | None
    ) -> dict[str, str]:
        headers = {"Content-Type": "application/json"} if raw else {}
        if signed_by is not None:
            signed = msgspec.json.encode(self.credentials(signed_by, method, target, raw))
            headers["Keyfill-Request"] = base64.urlsafe_b64encode(signed).decode()
        return headers

    async def _once(
        self, method: str, target: str, kind: type[M], raw: bytes, headers: dict[str, str]
    ) -> M:
        async with self.open(method, target, raw=raw, headers=headers) as response:
            content = await whole(self.chunks(response))
            if response.status >= 300:  # noqa: PLR2004
                raise rejected(response.status, content)
        try:
            return msgspec.json.decode(content, type=kind)
        except msgspec.MsgspecError as error:
            raise Unexpected(f"{method} {target}: {error}") from error


@contextmanager
def _reaching(url: str) -> Iterator[None]:
    try:
        yield
    except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError) as error:
        raise Unreachable(f"{url!r} is no market's address: http://host:port") from error
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise Unreachable(f"{url}: {error or type(error).__name__}") from error


async def whole(chunks: AsyncIterator[bytes]) -> bytes:
    """A body in one piece. Raises Unexpected where it is larger than ANSWER_BYTES_MAX."""
    parts: list[bytes] = []
    size = 0
    async for chunk in chunks:
        size += len(chunk)
        if size > ANSWER_BYTES_MAX:
            raise Unexpected(f"an answer of more than {ANSWER_BYTES_MAX} bytes")
        parts.append(chunk)
    return b"".join(parts)


def rejected(status: int, content: bytes) -> MarketFault:
    """What an error's body says."""
    try:
        told = msgspec.json.decode(content, type=_Error)
    except msgspec.MsgspecError:
        return Unexpected(f"status {status} without a reason")
    return Rejected(
        told.code, told.message, told.hint, status=status, retry_after_ms=told.retry_after_ms
    )


def event_of(text: str) -> Event:
    """A line of the feed. Raises Rejected where the line is an error, else Unexpected."""
    try:
        facts = msgspec.json.decode(text, type=dict[str, Any])
        if "code" in facts and "seq" not in facts:
            raise Rejected(facts["code"], facts["message"], facts.get("hint", ""))
        return Event(seq=facts["seq"], at_ms=facts["atMs"], event=facts["event"], facts=facts)
    except (msgspec.MsgspecError, KeyError) as error:
        raise Unexpected(f"a line of the feed: {error}") from error


async def _events(socket: aiohttp.ClientWebSocketResponse) -> AsyncIterator[Event]:
    async for message in socket:
        if message.type is aiohttp.WSMsgType.TEXT:
            yield event_of(message.data)


def may_repeat(fault: MarketFault, *, repeatable: bool) -> bool:
    """Whether trying again is safe; `repeatable`: even if the first got through."""
    match fault:
        case Rejected(code="unauthenticated", retry_after_ms=int()):
            return True
        case Rejected(code=code):
            return code in REFUSED_BEFORE or (repeatable and code == "shutting_down")
        case Unreachable():
            return repeatable
    return False


def pause_seconds(fault: MarketFault, attempt: int) -> float:
    """How long to wait before trying again."""
    told_ms = fault.retry_after_ms if isinstance(fault, Rejected) else None
    seconds = 0.05 * 2**attempt if told_ms is None else told_ms / 1_000
    jitter = secrets.randbelow(1_000) / 20_000
    return min(PAUSE_SECONDS_MAX, seconds) + jitter
