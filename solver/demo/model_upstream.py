"""The second upstream: a small OpenAI-compatible server with keys and streaming.

Its model is a word-pair chain over the corpus: it computes every answer from the prompt
and the data set, token by token, and counts usage as OpenAI does. Nothing is canned.
"""

import asyncio
import contextlib
import hmac
import itertools
import json
import random
import sqlite3
import time
from collections import defaultdict
from pathlib import Path
from typing import Any, Final

from aiohttp import web
from aiohttp.typedefs import Handler

MODEL: Final = "stdlib-chain-1"
TOKENS_MAX: Final = 512
_PAGES_READ: Final = 1_500
_TOKEN_SECONDS: Final = 0.005


class Model:
    """A first-order word chain. Same prompt, same answer."""

    def __init__(self, corpus: Path) -> None:
        self._next: dict[str, list[str]] = defaultdict(list)
        with sqlite3.connect(corpus) as connection:
            rows = connection.execute("SELECT text FROM pages LIMIT ?", (_PAGES_READ,))
            for (text,) in rows:
                words = text.split()
                for word, following in itertools.pairwise(words):
                    self._next[word.lower()].append(following)

    def answer(self, prompt: str, tokens_max: int) -> list[str]:
        """Up to `tokens_max` words that continue the prompt's last known word."""
        chance = random.Random(prompt)  # noqa: S311  reproducible text, not a secret
        words = [word.lower().strip("?.,!") for word in prompt.split()]
        known = [word for word in words if word in self._next]
        word = known[-1] if known else "the"
        answer = []
        for _ in range(tokens_max):
            following = self._next.get(word.lower()) or self._next["the"]
            word = chance.choice(following)
            answer.append(word)
        return answer


class ModelUpstream:
    """The HTTP face: /v1/models and /v1/chat/completions behind Bearer keys."""

    def __init__(self) -> None:
        self._keys: set[str] = set()
        self._model: Model | None = None
        self._runner: web.AppRunner | None = None
        self.port = 0
        self.requests = 0

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def add_key(self, key: str) -> None:
        """Accept a key."""
        self._keys.add(key)

    async def start(self, corpus: Path) -> None:
        """Read the corpus and listen on a free loopback port."""
        self._model = await asyncio.to_thread(Model, corpus)
        app = web.Application(middlewares=[self._authenticate])
        app.router.add_get("/v1/models", self._models)
        app.router.add_post("/v1/chat/completions", self._complete)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()

    @web.middleware
    async def _authenticate(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        self.requests += 1
        given = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if not any(hmac.compare_digest(given, key) for key in self._keys):
            error = {"message": "Incorrect API key provided", "code": "invalid_api_key"}
            return web.json_response({"error": error}, status=401)
        return await handler(request)

    async def _models(self, _: web.Request) -> web.Response:
        entry = {"id": MODEL, "object": "model", "created": 0, "owned_by": "keyfill-demo"}
        return web.json_response({"object": "list", "data": [entry]})

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        try:
            body = await request.json()
            prompt = " ".join(str(message["content"]) for message in body["messages"])
            tokens_max = int(body.get("max_tokens", 32))
        except (ValueError, KeyError, TypeError) as error:
            message = {"message": f"bad request: {error!r}", "code": "invalid_request"}
            return web.json_response({"error": message}, status=400)
        assert self._model is not None
        words = self._model.answer(prompt, min(tokens_max, TOKENS_MAX))
        usage = {
            "prompt_tokens": len(prompt.split()),
            "completion_tokens": len(words),
            "total_tokens": len(prompt.split()) + len(words),
        }
        if body.get("stream"):
            return await _stream(request, words, usage)
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": " ".join(words)},
            "finish_reason": "stop",
        }
        return web.json_response({**_head("chat.completion"), "choices": [choice], "usage": usage})


def _head(kind: str) -> dict[str, Any]:
    return {"id": "chatcmpl-demo", "object": kind, "created": int(time.time()), "model": MODEL}


async def _stream(
    request: web.Request, words: list[str], usage: dict[str, int]
) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    # A client that leaves early is nothing to report.
    with contextlib.suppress(ConnectionResetError):
        await _send_all(response, words, usage)
    return response


async def _send_all(response: web.StreamResponse, words: list[str], usage: dict[str, int]) -> None:
    for word in words:
        choice = {"index": 0, "delta": {"content": f"{word} "}, "finish_reason": None}
        await _send(response, {**_head("chat.completion.chunk"), "choices": [choice]})
        await asyncio.sleep(_TOKEN_SECONDS)
    last = {"index": 0, "delta": {}, "finish_reason": "stop"}
    await _send(response, {**_head("chat.completion.chunk"), "choices": [last], "usage": usage})
    await response.write(b"data: [DONE]\n\n")
    await response.write_eof()


async def _send(response: web.StreamResponse, chunk: dict[str, Any]) -> None:
    await response.write(f"data: {json.dumps(chunk)}\n\n".encode())
