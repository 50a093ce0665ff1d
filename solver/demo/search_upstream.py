"""The first upstream: a real Datasette that answers only to a good token."""

import asyncio
import json
import sqlite3
import sys
from pathlib import Path
from typing import Final

import aiohttp

from solver.demo.corpus import build_corpus
from solver.demo.process import Subprocess, free_port

_TOKENS: Final = "CREATE TABLE token (id TEXT PRIMARY KEY, secret TEXT, owner TEXT)"
_LOOKUP: Final = "SELECT secret AS token_secret, owner AS actor_id FROM token WHERE id = :token_id"
_START_SECONDS_MAX: Final = 60


class SearchUpstream:
    """Datasette with `datasette-auth-tokens` over the standard library's docstrings.

    Tokens live in a database of their own, so that the demo can revoke one while calls
    are served: 403 from then on.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._tokens = folder / "tokens.db"
        self._process: Subprocess | None = None
        self.port = free_port()
        self.pages = 0

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Build the data set, start Datasette, wait until it asks for a token."""
        self._folder.mkdir(parents=True, exist_ok=True)
        corpus = self._folder / "docs.db"
        self.pages = await asyncio.to_thread(build_corpus, corpus)
        with sqlite3.connect(self._tokens) as connection:
            connection.execute(_TOKENS)
        metadata = self._folder / "metadata.json"
        metadata.write_text(json.dumps(_metadata()))
        arguments = ["-m", "datasette", "serve", str(corpus), str(self._tokens)]
        options = ["--port", str(self.port), "--metadata", str(metadata)]
        self._process = await Subprocess.start(
            [sys.executable, *arguments, *options], log=self._folder / "datasette.log"
        )
        await self._process.until_answers(f"{self.url}/-/versions.json", _START_SECONDS_MAX)

    def add_token(self, token: str, owner: str) -> None:
        """Accept a token of the form id-secret."""
        token_id, secret = token.split("-", 1)
        with sqlite3.connect(self._tokens) as connection:
            connection.execute("INSERT INTO token VALUES (?, ?, ?)", (token_id, secret, owner))

    def revoke_token(self, token: str) -> None:
        """Refuse a token from now on."""
        token_id, _ = token.split("-", 1)
        with sqlite3.connect(self._tokens) as connection:
            connection.execute("UPDATE token SET secret = 'revoked' WHERE id = ?", (token_id,))

    async def status_without_token(self) -> int:
        """What a stranger gets."""
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{self.url}/docs/pages.json") as answer,
        ):
            return answer.status

    async def stop(self) -> None:
        """Stop Datasette."""
        if self._process is not None:
            await self._process.stop()


def _metadata() -> dict[str, object]:
    return {
        "title": "Python's standard library, searchable",
        "allow": {"id": "*"},
        "databases": {"tokens": {"allow": False}},
        "plugins": {"datasette-auth-tokens": {"query": {"sql": _LOOKUP, "database": "tokens"}}},
    }
