"""The way out leads to the provider's own public address, and nowhere else."""

import asyncio
import gzip
import logging
import socket
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import quote

import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult

from solver.vault.egress import Egress, Exchange
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
from solver.vault.template import KeyPlace, Provider, Timeouts
from tests.vault.fixture import KEY, QUICK, a_provider, a_raw_upstream, an_upstream

GET = Outbound(method="GET", path="/search/a.json", query="q=1", headers=(), body=b"")


class Names(AbstractResolver):
    """A resolver that answers from a script, the last answer for ever."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked = 0

    async def resolve(
        self,
        host: str,
        port: int = 0,
        family: socket.AddressFamily = socket.AF_INET,  # noqa: ARG002 (the interface's)
    ) -> list[ResolveResult]:
        """The next answer."""
        addresses = self.answers[min(self.asked, len(self.answers) - 1)]
        self.asked += 1
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in addresses
        ]

    async def close(self) -> None:
        """Nothing to close."""


async def body_of(exchange: Exchange) -> bytes:
    """The whole body."""
    try:
        return b"".join([chunk async for chunk in exchange.chunks()])
    finally:
        exchange.close()


@asynccontextmanager
async def sent(provider: Provider, outbound: Outbound = GET) -> AsyncIterator[Exchange]:
    """One exchange over an egress of its own."""
    async with Egress() as egress:
        exchange = await egress.send(provider, outbound, Secret(KEY))
        try:
            yield exchange
        finally:
            exchange.close()


async def test_a_request_carries_the_key_and_little_else() -> None:
    """The upstream sees the planned path, query and headers, the key, and who we are."""
    async with an_upstream() as upstream, sent(a_provider(upstream.base_url)) as exchange:
        assert await body_of(exchange) == b"hello"
    method, path, headers, body = upstream.requests[0]
    assert (method, path, body) == ("GET", "/search/a.json?q=1", b"")
    assert headers.pop("Host") in upstream.base_url
    assert {name.lower(): value for name, value in headers.items()} == {
        "authorization": f"Bearer {KEY.decode()}",
        "accept-encoding": "identity",
        "user-agent": "keyfill",
        "accept": "*/*",
    }


async def test_a_key_can_go_into_the_query() -> None:
    """Encoded, behind the client's own parameters."""
    async with an_upstream() as upstream:
        provider = a_provider(upstream.base_url, key=KeyPlace(query="api_key"))
        async with sent(provider) as exchange:
            assert exchange.status == 200
    key = quote(KEY.decode(), safe="")
    assert upstream.requests[0][1] == f"/search/a.json?q=1&api_key={key}"
    assert upstream.authorizations == [""]


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "0.0.0.0",  # noqa: S104 (nothing is bound)
        "10.0.0.1",
        "169.254.169.254",
        "[64:ff9b::7f00:1]",
        "0x7f000001",
        "①②⑦.0.0.1",
        "localhost",
    ],
)
async def test_a_literal_does_not_get_around_the_resolver(host: str) -> None:
    """Even an entry that got past the catalogue's checks connects to nothing private."""
    async with an_upstream() as upstream, Egress() as egress:
        port = upstream.base_url.rpartition(":")[2]
        provider = a_provider(f"http://{host}:{port}", private_network=False)
        with pytest.raises((DestinationForbidden, UpstreamUnreachable)):
            await egress.send(provider, GET, Secret(KEY))
    assert upstream.requests == []


@pytest.mark.parametrize(
    "addresses", [["127.0.0.1"], ["10.0.0.8"], ["1.1.1.1", "127.0.0.1"], ["169.254.169.254"]]
)
async def test_a_name_with_one_forbidden_address_is_refused(addresses: list[str]) -> None:
    """All addresses of a name are judged, not just the one that would be used."""
    async with Egress(resolver=Names(addresses)) as egress:
        provider = a_provider("http://api.example", private_network=False)
        with pytest.raises(DestinationForbidden):
            await egress.send(provider, GET, Secret(KEY))


@pytest.mark.parametrize("private", [False, True])
async def test_rebinding_never_reaches_loopback(*, private: bool) -> None:
    """A name that flips between public and private connects to loopback 0 of 300 times.

    With the guard off (`private`) the same script gets there: the test can fail.
    """
    async with an_upstream() as upstream:
        port = int(upstream.base_url.rpartition(":")[2])
        names = Names(*([["1.1.1.1"], ["127.0.0.1"]] * 150))
        timeouts = Timeouts(connect_ms=20, headers_ms=50, idle_ms=50, total_ms=50)
        provider = a_provider(
            f"http://api.example:{port}", private_network=private, timeouts=timeouts
        )
        async with Egress(resolver=names, dns_cache_seconds=0) as egress:
            for _ in range(10 if private else 300):
                with suppress(EgressFault):
                    (await egress.send(provider, GET, Secret(KEY))).close()
        assert bool(upstream.requests) is private


async def test_a_private_provider_still_cannot_reach_metadata() -> None:
    """`private_network` opens the operator's network, not the cloud's."""
    async with Egress() as egress:
        with pytest.raises(DestinationForbidden):
            await egress.send(a_provider("http://169.254.169.254"), GET, Secret(KEY))


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(status: int) -> None:
    """The answer comes back as it is, without its Location, and nobody else hears of it."""
    async with an_upstream() as target, an_upstream() as upstream:

        async def redirect(request: web.BaseRequest) -> web.Response:
            return web.Response(status=status, headers={"Location": target.base_url})

        upstream.handler = redirect
        async with sent(a_provider(upstream.base_url)) as exchange:
            assert exchange.status == status
            assert "location" not in dict(exchange.headers)
        assert target.requests == []


async def test_cookies_are_neither_kept_nor_passed_back() -> None:
    """One tenant's upstream session never reaches another."""
    async with an_upstream() as upstream, Egress() as egress:

        async def cookie(request: web.BaseRequest) -> web.Response:
            return web.Response(headers={"Set-Cookie": "session=secret; Path=/"})

        upstream.handler = cookie
        for _ in range(2):
            exchange = await egress.send(a_provider(upstream.base_url), GET, Secret(KEY))
            assert "set-cookie" not in dict(exchange.headers)
            await body_of(exchange)
        assert all("Cookie" not in headers for _, _, headers, _ in upstream.requests)


async def test_only_listed_headers_come_back() -> None:
    """Whatever an upstream sets, nobody downstream obeys it."""
    async with an_upstream() as upstream:

        async def many(request: web.BaseRequest) -> web.Response:
            names = ["Settlement-Overrides", "Server", "X-Account", "Alt-Svc", "Trailer", "X-Echo"]
            return web.Response(headers={**dict.fromkeys(names, "v"), "Retry-After": "3"})

        upstream.handler = many
        async with sent(a_provider(upstream.base_url)) as exchange:
            names = {name for name, _ in exchange.headers}
            assert names == {"x-echo", "retry-after"}


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_a_compressed_answer_is_undone(encoding: str) -> None:
    """An upstream that compresses unasked cannot hide anything from the scrubber."""
    packed = gzip.compress(b"plain" * 100) if encoding == "gzip" else zlib.compress(b"plain" * 100)
    async with an_upstream() as upstream:

        async def compressed(request: web.BaseRequest) -> web.Response:
            return web.Response(body=packed, headers={"Content-Encoding": encoding})

        upstream.handler = compressed
        async with sent(a_provider(upstream.base_url)) as exchange:
            assert await body_of(exchange) == b"plain" * 100
            assert "content-encoding" not in dict(exchange.headers)


@pytest.mark.parametrize(
    "packed",
    [
        gzip.compress(b"x" * 1_000)[:-9],
        gzip.compress(b"x") + gzip.compress(b"y"),
        b"not gzip at all",
    ],
    ids=["cut", "two members", "garbage"],
)
async def test_a_broken_compressed_answer_is_refused(packed: bytes) -> None:
    """What does not decode as a whole is not passed on as if it had."""
    with pytest.raises(ResponseRefused):
        await taken_of_gzip(packed)


async def test_a_decompression_bomb_is_stopped_at_the_bound() -> None:
    """A small body that would become 20 MiB stops at the provider's bound, in small pieces."""
    with pytest.raises(AnswerCut):
        await taken_of_gzip(gzip.compress(bytes(20 * 1024 * 1024)))


async def taken_of_gzip(packed: bytes) -> None:
    """Read an answer with this compressed body, piece by piece."""
    async with an_upstream() as upstream:

        async def compressed(request: web.BaseRequest) -> web.Response:
            return web.Response(body=packed, headers={"Content-Encoding": "gzip"})

        upstream.handler = compressed
        taken = 0
        async with sent(a_provider(upstream.base_url)) as exchange:
            async for piece in exchange.chunks():
                taken += len(piece)
                assert len(piece) <= 64 * 1024
                assert taken <= 300_000


async def test_an_unknown_encoding_is_refused() -> None:
    """Brotli was not asked for, and could hide a key."""
    async with a_raw_upstream(
        b"HTTP/1.1 200 OK\r\nContent-Encoding: br\r\nContent-Length: 1\r\n\r\nx"
    ) as base_url:
        with pytest.raises(ResponseRefused):
            async with sent(a_provider(base_url)):
                pass


async def test_an_endless_answer_is_cut_off() -> None:
    """A body without end stops at the provider's bound."""
    async with (
        a_raw_upstream(b"HTTP/1.1 200 OK\r\n\r\n", *[b"x" * 50_000] * 20) as base_url,
        sent(a_provider(base_url)) as exchange,
    ):
        with pytest.raises(AnswerCut, match="too large"):
            await body_of(exchange)


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 1_000_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X-Many: 1\r\n" * 5_000 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
        b"not http\r\n\r\n",
        b"",
    ],
    ids=["long header", "many headers", "two lengths", "bad chunk", "garbage", "hang up"],
)
async def test_what_is_not_proper_http_is_a_fault_of_ours(head: bytes) -> None:
    """The client library's errors are mapped, and chain nothing that holds the key."""
    async with a_raw_upstream(head) as base_url:
        with pytest.raises(UpstreamBroken) as caught:
            async with sent(a_provider(base_url)) as exchange:
                await body_of(exchange)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    assert KEY.decode() not in str(caught.value)


async def test_no_connection_means_nothing_was_sent() -> None:
    """A closed port is a fault of its own: such a call may be tried elsewhere."""
    with pytest.raises(UpstreamUnreachable):
        async with sent(a_provider("http://127.0.0.1:1")):
            pass


async def test_waiting_has_an_end() -> None:
    """For headers, between chunks, and for all of it."""
    async with a_raw_upstream(b"", pause_s=3) as base_url:
        with pytest.raises(UpstreamTimeout):
            async with sent(a_provider(base_url, timeouts=QUICK)):
                pass
    head = b"HTTP/1.1 200 OK\r\n\r\n"
    async with a_raw_upstream(head, b"x", b"", pause_s=0.35) as base_url:
        with pytest.raises(UpstreamTimeout):
            async with sent(a_provider(base_url, timeouts=QUICK)) as exchange:
                await body_of(exchange)
    dribble = Timeouts(connect_ms=1_000, headers_ms=1_000, idle_ms=1_000, total_ms=1_000)
    async with a_raw_upstream(head, *[b"x"] * 100, pause_s=0.02) as base_url:
        with pytest.raises(AnswerCut):
            async with sent(a_provider(base_url, timeouts=dribble)) as exchange:
                await body_of(exchange)


async def test_a_request_is_sent_once() -> None:
    """A connection that dies before the answer is not used as a reason to try again."""
    seen = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal seen
        try:
            await reader.readuntil(b"\r\n\r\n")
            seen += 1
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            await reader.readuntil(b"\r\n\r\n")
            seen += 1
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    provider = a_provider(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    async with Egress() as egress:
        assert await body_of(await egress.send(provider, GET, Secret(KEY))) == b"ok"
        with pytest.raises(UpstreamBroken):
            await egress.send(provider, GET, Secret(KEY))
    server.close()
    assert seen == 2


async def test_the_environment_s_proxy_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys do not go to whatever HTTP_PROXY names."""
    async with an_upstream() as proxy, an_upstream() as upstream:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.base_url)
        async with sent(a_provider(upstream.base_url)) as exchange:
            assert exchange.status == 200
        assert proxy.requests == []


async def test_the_client_library_logs_no_key(caplog: pytest.LogCaptureFixture) -> None:
    """Not even with everything switched on."""
    with caplog.at_level(logging.DEBUG):
        async with an_upstream() as upstream, sent(a_provider(upstream.base_url)):
            pass
    assert KEY.decode() not in caplog.text
