"""A purchase: an intent that was submitted, waited for, called through, and brought to its end."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

import aiohttp
import msgspec

from solver.client.fault import NotFilled, Rejected, Unexpected
from solver.client.market import Market, rejected, whole
from solver.client.model import Grant, Intent, Lease, Leases, Receipt, Result

if TYPE_CHECKING:
    from solver.client.agent import Agent

GRANT_MARGIN_SECONDS: Final = 30
LEASE_HEADER: Final = "Keyfill-Lease"
UNITS_HEADER: Final = "Keyfill-Units"
RECEIPT_DUE: Final = "receipt_due"


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """An upstream's whole answer. `units` is None where it came as a stream."""

    status: int
    headers: dict[str, str]
    body: bytes
    lease: str
    units: int | None

    def json(self) -> Any:  # noqa: ANN401  whatever the upstream said
        """The body as JSON."""
        return msgspec.json.decode(self.body)


class Stream:
    """An upstream's answer as it comes; iterate over it for the body."""

    def __init__(self, market: Market, response: aiohttp.ClientResponse) -> None:
        self._body = market.chunks(response)
        self.status: Final = response.status
        self.headers: Final = {name.lower(): value for name, value in response.headers.items()}
        self.lease: Final = response.headers[LEASE_HEADER]

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._body


class BoughtIntent:
    """A submitted intent. `state` is what was last heard of it."""

    def __init__(self, agent: "Agent", state: Intent) -> None:
        self._agent = agent
        self._market = agent.market
        self._grant: Grant | None = None
        self.state = state

    @property
    def digest(self) -> str:
        """Its id."""
        return self.state.digest

    async def refresh(self) -> Intent:
        """Where it stands now."""
        self.state = await self._market.get(f"/v1/intents/{self.digest}", Intent)
        return self.state

    async def filled(self, units: int | None = None, *, timeout_seconds: float = 60) -> Intent:
        """Wait until this many units (all, unless told otherwise) are filled.

        Raises NotFilled if it ends before, TimeoutError if neither happens in time.
        """
        wanted = self.state.units if units is None else units
        self.state = await self._agent.watch.until(
            self.digest, lambda it: it.filled_units >= wanted or not it.open_units, timeout_seconds
        )
        if self.state.filled_units < wanted:
            raise NotFilled(self.state.status, self.state.filled_units)
        return self.state

    async def settled(self, *, timeout_seconds: float = 600) -> Intent:
        """Wait until it is over: paid for, final. Raises TimeoutError."""
        self.state = await self._agent.watch.until(
            self.digest, lambda it: it.is_over, timeout_seconds
        )
        return self.state

    async def leases(self) -> tuple[Lease, ...]:
        """What it was filled with."""
        return (await self._market.get("/v1/leases", Leases, intent=self.digest)).leases

    async def receipt(self) -> Receipt:
        """What it has used so far, over the market's signature, which is checked.

        Raises Unexpected for one that is about something else or not signed by `signer`.
        """
        told = await self._market.get("/v1/receipts", Receipt, intent=self.digest)
        document = told.document
        if (document.intent, document.account) != (self.digest, self._agent.account):
            raise Unexpected("the receipt is about something else")
        if self._market.signer_of(document, told.signature) != told.signer:
            raise Unexpected("the receipt is not signed by who it says")
        return told

    async def grant(self) -> str:
        """A bearer token for any HTTP client; see `proxy_url`."""
        grant = self._grant
        if grant is None or grant.expires_at_ms < (
            (self._market.time_s() + GRANT_MARGIN_SECONDS) * 1_000
        ):
            grant = await self._market.request(
                "POST",
                "/v1/leases/grant",
                Grant,
                body={"intent": self.digest},
                signed_by=self._agent.identity,
                repeatable=True,
            )
            self._grant = grant
        return grant.grant

    @property
    def proxy_url(self) -> str:
        """The base URL under which the upstream's own paths work."""
        provider = self.state.resource.partition("/")[0]
        return f"{self._market.url}/v1/proxy/{provider}"

    async def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str | int] | None = None,
        headers: Mapping[str, str] | None = None,
        json: object = None,
        body: bytes = b"",
    ) -> Answer:
        """One call through the proxy. Never repeated by itself: it may cost a unit.

        Raises Rejected where the market refused, Unexpected where the body is larger than
        64 MiB (`stream` has no such bound), NotOwed where it wants a signature for more than was
        used before it goes on; an upstream's own error is an Answer.
        """
        async with self.stream(
            method, path, query=query, headers=headers, json=json, body=body
        ) as stream:
            content = await whole(aiter(stream))
        units = stream.headers.get(UNITS_HEADER.lower())
        return Answer(
            status=stream.status,
            headers=stream.headers,
            body=content,
            lease=stream.lease,
            units=None if units is None else int(units),
        )

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str | int] | None = None,
        headers: Mapping[str, str] | None = None,
        json: object = None,
        body: bytes = b"",
    ) -> AsyncIterator[Stream]:
        """Like `call`, but the body comes as the upstream sends it."""
        sent = {"Authorization": f"Bearer {await self.grant()}", **(headers or {})}
        if json is not None:
            body = msgspec.json.encode(json)
            sent.setdefault("Content-Type", "application/json")
        provider = self.state.resource.partition("/")[0]
        target = f"/v1/proxy/{provider}{path}" + (f"?{urlencode(query)}" if query else "")
        async with AsyncExitStack() as stack:
            response = await self._served(stack, method, target, raw=body, headers=sent)
            units = response.headers.get(UNITS_HEADER)
            try:
                yield Stream(self._market, response)
            finally:
                self._agent.spending.used(self.state, None if units is None else int(units))

    async def _served(
        self,
        stack: AsyncExitStack,
        method: str,
        target: str,
        *,
        raw: bytes,
        headers: dict[str, str],
    ) -> aiohttp.ClientResponse:
        """An upstream's answer. Where the market waits for a signature, it is given, once."""
        is_signed = False
        while True:
            response = await stack.enter_async_context(
                self._market.open(method, target, raw=raw, headers=headers)
            )
            if LEASE_HEADER in response.headers:
                return response
            fault = rejected(response.status, await whole(self._market.chunks(response)))
            if is_signed or not isinstance(fault, Rejected) or fault.code != RECEIPT_DUE:
                raise fault
            await self._agent.spending.sign()
            is_signed = True

    async def done(self) -> None:
        """No more calls: end the leases, release the money that is not owed."""
        await self._market.request(
            "POST",
            "/v1/leases/end",
            Result,
            body={"intent": self.digest},
            signed_by=self._agent.identity,
            repeatable=True,
        )
        self._agent.spending.due()

    async def cancel(self) -> None:
        """Withdraw what is not filled. Raises Rejected (too_late, not_open)."""
        await self._market.request(
            "DELETE",
            f"/v1/intents/{self.digest}",
            Result,
            signed_by=self._agent.identity,
            repeatable=True,
        )
