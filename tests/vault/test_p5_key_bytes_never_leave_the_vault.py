"""Promise P5: key bytes never leave the vault, whatever an upstream sends back."""

import asyncio
import gzip
import logging
import random
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

import pytest
import structlog
from aiohttp import web

from intents.reject import Reject
from solver.vault import Answer, Secret
from solver.vault.fault import VaultFault
from solver.vault.scrub import Scrubber
from tests.vault.fixture import KEY, World, a_world, read
from tests.vault.leak import ENCODERS, leaks


class Canary:
    """A structlog processor that keeps everything that was logged."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def __call__(
        self,
        logger: Any,  # noqa: ARG002 (structlog's interface)
        name: str,  # noqa: ARG002
        event: MutableMapping[str, Any],
    ) -> MutableMapping[str, Any]:
        """Note the event in full."""
        self.lines.append(repr(event))
        raise structlog.DropEvent


@pytest.fixture
def canary() -> Any:
    """Every log line of the test."""
    canary = Canary()
    before = structlog.get_config()
    structlog.configure(
        processors=[canary],
        wrapper_class=structlog.make_filtering_bound_logger(logging.NOTSET),
        cache_logger_on_first_use=False,
    )
    yield canary
    structlog.configure(**before)


async def everything(world: World) -> bytes:
    """All that a client can see of one call: head, body, reject or fault."""
    try:
        answer = await world.call()
        if isinstance(answer, Reject):
            return repr(answer).encode()
        head = repr((answer.status, answer.headers, answer.call, answer.lease)).encode()
        return head + await read(answer)
    except VaultFault as fault:
        return repr((fault, fault.__cause__, fault.__context__)).encode()


@pytest.mark.parametrize("status", [200, 302, 400, 401, 429, 500])
@pytest.mark.parametrize("place", ["body", "header", "gzip", "chunks", "trailer", "reason"])
async def test_an_echoed_key_reaches_nobody(
    tmp_path: Path, status: int, place: str, canary: Canary, caplog: pytest.LogCaptureFixture
) -> None:
    """In any status, any place and every encoding; not in the answer, nor in any log."""
    caplog.set_level(logging.DEBUG)
    seen = b""
    async with a_world(tmp_path) as world:
        await world.pool(units=100)
        for encode in ENCODERS.values():
            world.upstream.handler = _Echo(place, status, encode(KEY))
            seen += await everything(world)
    logged = "".join([*canary.lines, caplog.text]).encode()
    assert leaks(seen, KEY) == []
    assert leaks(logged, KEY) == []
    assert all(KEY[at : at + 8] not in seen + logged for at in range(len(KEY) - 7))


class _Echo:
    """Answers with `text` in one place."""

    def __init__(self, place: str, status: int, text: bytes) -> None:
        self.place, self.status, self.text = place, status, text

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        if self.place == "chunks":
            return await self._chunks(request)
        if self.place == "gzip":
            packed = gzip.compress(b"echo " + self.text)
            return web.Response(
                status=self.status, body=packed, headers={"Content-Encoding": "gzip"}
            )
        headers = {"X-Echo": self.text.decode(), "Content-Type": "text/" + "x"}
        if self.place == "header":
            return web.Response(status=self.status, headers=headers)
        if self.place == "reason":
            return web.Response(status=self.status, reason=self.text.decode())
        if self.place == "trailer":
            return web.Response(status=self.status, headers={"Trailer": self.text.decode()})
        return web.Response(status=self.status, body=b"{" + self.text + b"}")

    async def _chunks(self, request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(status=self.status)
        response.enable_chunked_encoding()
        await response.prepare(request)
        generator = random.Random(len(self.text))  # noqa: S311 (a reproducible cut)
        at = 0
        while at < len(self.text):
            size = generator.randint(1, 30)
            await response.write(self.text[at : at + size])
            await asyncio.sleep(0)
            at += size
        return response


def test_thousands_of_fuzzed_replies_leak_nothing() -> None:
    """Every encoding among noise in random chunks, through scrubber and flush."""
    generator = random.Random(5)  # noqa: S311 (reproducible)
    encoders = list(ENCODERS.values())
    for _ in range(2_000):
        text = b"".join(
            generator.randbytes(generator.randint(0, 12)) + generator.choice(encoders)(KEY)
            for _ in range(5)
        )
        scrubber = Scrubber(Secret(KEY))
        output, at = b"", 0
        while at < len(text):
            size = generator.randint(1, 120)
            output += scrubber.feed(text[at : at + size])
            at += size
        assert leaks(output + scrubber.flush(), KEY) == []


async def test_the_oracle_sees_planted_leaks(tmp_path: Path, canary: Canary) -> None:
    """A log line with the key is found, and so is an answer past a blind scrubber."""
    structlog.get_logger().warning("planted", header=f"Bearer {KEY.decode()}")
    assert leaks("".join(canary.lines).encode(), KEY) != []
    async with a_world(tmp_path) as world:
        await world.pool()
        world.upstream.handler = _Echo("body", 200, KEY)
        answer = await world.call()
        assert isinstance(answer, Answer)
        answer._scrubber._runs = answer._scrubber._hex = answer._scrubber._base64 = ()
        assert not answer._scrubber._closed
        assert leaks(await read(answer), KEY) != []
