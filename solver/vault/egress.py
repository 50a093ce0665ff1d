"""The only way out: the one place with an HTTP client.

The destination comes from the catalogue. Names are resolved once and every address is
judged; the socket is opened for exactly the judged address, literals included, and the
peer is checked again before the key is written. No redirect is followed, no cookie kept,
no proxy setting of the environment obeyed, and no request is sent twice.
"""

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any, Final, Self
from urllib.parse import quote

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver
from yarl import URL

from solver.vault.address import is_permitted, parse_address
from solver.vault.decode import BoundedDecoder
from solver.vault.fault import (
    AnswerCut,
    DestinationForbidden,
    EgressFault,
    ResponseRefused,
    UpstreamBroken,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from solver.vault.operation import Outbound
from solver.vault.secret import Secret
from solver.vault.template import KeyPlace, Provider

CONNECTIONS_MAX: Final = 256
DNS_CACHE_SECONDS: Final = 10
LINE_BYTES_MAX: Final = 8_190
HEADERS_MAX: Final = 128
USER_AGENT: Final = "keyfill"
TOO_LONG: Final = "the upstream's answer took too long"
STALLED: Final = "the upstream's answer stopped coming"
FORBIDDEN: Final = "the upstream's address is not one to connect to"

RESPONSE_HEADERS: Final = frozenset({"content-type", "content-language", "retry-after"})
"""Passed back for every provider; everything else is dropped unless its file names it."""

AddressInfo = tuple[int | socket.AddressFamily, int | socket.SocketKind, int, str, tuple[Any, ...]]


class _Forbidden(OSError):
    """Raised inside the client, where only OSErrors are expected."""


class Exchange:
    """An upstream's answer whose body is still to be read. Close it in every case.

    Names of `headers` are in lower case and on the allow-list; nothing in here has been
    scrubbed yet.
    """

    def __init__(self, response: aiohttp.ClientResponse, provider: Provider) -> None:
        self.status: Final = response.status
        self.headers: Final = _passed_back(response, provider)
        self._response = response
        self._timeouts = provider.timeouts
        self._deadline = _now() + provider.timeouts.total_ms / 1_000
        encoding = ",".join(response.headers.getall("content-encoding", []))
        self._decoder = BoundedDecoder(encoding, provider.response_bytes_max)

    async def chunks(self) -> AsyncIterator[bytes]:
        """The decoded body, in bounded pieces; raises an EgressFault when it breaks."""
        while chunk := await self._read():
            for piece in self._decoder.feed(chunk):
                yield piece
        self._decoder.finish()

    def close(self) -> None:
        """Give the connection back if the body was read to its end; drop it otherwise."""
        self._response.close()

    async def _read(self) -> bytes:
        fault: EgressFault
        left = self._deadline - _now()
        idle = self._timeouts.idle_ms / 1_000
        if left <= 0:
            raise AnswerCut(TOO_LONG)
        try:
            async with asyncio.timeout(min(idle, left)):
                return await self._response.content.readany()
        except TimeoutError:
            fault = UpstreamTimeout(STALLED) if idle < left else AnswerCut(TOO_LONG)
        except (aiohttp.ClientError, OSError, ValueError):
            fault = UpstreamBroken("the upstream's answer broke off")
        raise fault


class Egress:
    """Sends planned requests. Use it as an async context manager, in one event loop."""

    def __init__(
        self,
        *,
        resolver: AbstractResolver | None = None,
        dns_cache_seconds: int = DNS_CACHE_SECONDS,
    ) -> None:
        self._resolver = resolver
        self._dns_cache_seconds = dns_cache_seconds
        self._sessions: dict[bool, aiohttp.ClientSession] = {}

    async def __aenter__(self) -> Self:
        # Two pools: a connection into the private network must never serve the public side.
        self._sessions = {private: self._session(private=private) for private in (False, True)}
        return self

    async def __aexit__(self, *_: object) -> None:
        for session in self._sessions.values():
            await session.close()

    async def send(self, provider: Provider, outbound: Outbound, secret: Secret) -> Exchange:
        """One request with the key in its place, up to the answer's headers.

        Raises DestinationForbidden and UpstreamUnreachable if nothing was sent, any other
        EgressFault if it may have been.
        """
        session = self._sessions[provider.private_network]
        fault: EgressFault
        try:
            async with asyncio.timeout(provider.timeouts.headers_ms / 1_000):
                response = await _request(session, provider, outbound, secret)
        except EgressFault:
            raise
        except TimeoutError as error:
            fault = _timeout_fault(error)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            fault = _fault(error)
        else:
            return _exchange(response, provider)
        # Raised out here so that it does not chain the client's exception, whose frames
        # and request info hold the key.
        raise fault

    def _session(self, *, private: bool) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            limit=CONNECTIONS_MAX,
            resolver=_JudgedResolver(self._resolver or ThreadedResolver(), private=private),
            use_dns_cache=self._dns_cache_seconds > 0,
            ttl_dns_cache=self._dns_cache_seconds,
            socket_factory=_SocketFactory(private=private),
        )
        return aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            request_class=_PrivateRequest if private else _PublicRequest,
            middlewares=(_send_once,),
            auto_decompress=False,
            trust_env=False,
            raise_for_status=False,
            max_line_size=LINE_BYTES_MAX,
            max_field_size=LINE_BYTES_MAX,
            max_headers=HEADERS_MAX,
        )


class _JudgedResolver(AbstractResolver):
    """Refuses a name as a whole when one of its addresses is forbidden."""

    def __init__(self, inner: AbstractResolver, *, private: bool) -> None:
        self._inner = inner
        self._private = private

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._inner.resolve(host, port, family)
        for result in found:
            _judge(result["host"], private=self._private)
        return found

    async def close(self) -> None:
        await self._inner.close()


class _SocketFactory:
    """Opens sockets for permitted addresses only; asked right before each connect."""

    def __init__(self, *, private: bool) -> None:
        self._private = private

    def __call__(self, info: AddressInfo) -> socket.socket:
        family, kind, protocol, _, address = info
        _judge(str(address[0]), private=self._private)
        return socket.socket(family, kind, protocol)


class _PublicRequest(aiohttp.ClientRequest):
    """Checks who is at the other end before a byte of the request is written."""

    private = False

    async def send(self, conn: aiohttp.connector.Connection) -> aiohttp.ClientResponse:
        transport = conn.transport
        peer = transport.get_extra_info("peername") if transport else None
        if not peer:
            raise aiohttp.ServerDisconnectedError
        if not _is_permitted(str(peer[0]), private=self.private):
            raise DestinationForbidden(FORBIDDEN)
        return await super().send(conn)


class _PrivateRequest(_PublicRequest):
    private = True


async def _send_once(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Keeps the client from repeating a request by itself: a call is metered once."""
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError):
        pass
    raise UpstreamBroken("the upstream closed the connection without an answer")


async def _request(
    session: aiohttp.ClientSession, provider: Provider, outbound: Outbound, secret: Secret
) -> aiohttp.ClientResponse:
    connect_s = provider.timeouts.connect_ms / 1_000
    with secret.exposed() as view:
        # The client wants text, which cannot be wiped; it lives as long as the request.
        key = str(view, "ascii")
    headers = {
        **dict(outbound.headers),
        **_key_header(provider.key, key),
        "accept-encoding": "identity",
        "user-agent": USER_AGENT,
    }
    return await session.request(
        outbound.method,
        _url(provider, outbound, key),
        headers=headers,
        data=outbound.body or None,
        allow_redirects=False,
        skip_auto_headers=("content-type",),
        timeout=aiohttp.ClientTimeout(total=None, connect=connect_s, sock_connect=connect_s),
    )


def _key_header(place: KeyPlace, key: str) -> dict[str, str]:
    return {place.header: place.format.replace("{key}", key)} if place.header else {}


def _url(provider: Provider, outbound: Outbound, key: str) -> URL:
    own = f"{place}={quote(key, safe='')}" if (place := provider.key.query) else ""
    query = "&".join(part for part in (outbound.query, own) if part)
    text = f"{provider.base_url}{outbound.path}" + (f"?{query}" if query else "")
    url = URL(text, encoded=True)
    # The path begins with a slash, so this holds; if it ever does not, nothing leaves.
    if str(url.origin()) != str(URL(provider.base_url).origin()) or url.user is not None:
        raise DestinationForbidden("the request would leave its provider's host")
    return url


def _exchange(response: aiohttp.ClientResponse, provider: Provider) -> Exchange:
    try:
        return Exchange(response, provider)
    except ResponseRefused:
        response.close()
        raise


def _passed_back(
    response: aiohttp.ClientResponse, provider: Provider
) -> tuple[tuple[str, str], ...]:
    allowed = RESPONSE_HEADERS.union(provider.response_headers)
    lowered = ((name.lower(), value) for name, value in response.headers.items())
    return tuple(pair for pair in lowered if pair[0] in allowed)


def _judge(text: str, *, private: bool) -> None:
    if not _is_permitted(text, private=private):
        raise _Forbidden(FORBIDDEN)


def _is_permitted(text: str, *, private: bool) -> bool:
    address = parse_address(text)
    return address is not None and is_permitted(address, private_network=private)


def _timeout_fault(error: TimeoutError) -> EgressFault:
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return UpstreamUnreachable("the upstream could not be reached in time")
    return UpstreamTimeout("the upstream did not answer in time")


def _fault(error: Exception) -> EgressFault:
    if isinstance(error, aiohttp.ClientConnectorError) and isinstance(error.os_error, _Forbidden):
        return DestinationForbidden(FORBIDDEN)
    if isinstance(error, aiohttp.ClientConnectorError | aiohttp.InvalidURL):
        return UpstreamUnreachable("the upstream could not be reached")
    return UpstreamBroken("the upstream's answer is not proper HTTP")


def _now() -> float:
    return asyncio.get_running_loop().time()
