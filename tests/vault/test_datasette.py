"""The shipped Datasette provider against a real Datasette."""

import asyncio
import json
import os
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import aiohttp
import pytest

from intents.reject import Reject, RejectCode
from solver.core.command import Outcome
from solver.demo.process import free_port
from solver.vault import (
    Answer,
    CallRequest,
    Contributed,
    Egress,
    KeyStore,
    LocalKeyWrapper,
    Secret,
    Vault,
    load_catalogue,
)
from tests.patience import patiently
from tests.vault.fixture import BUYER, INTENT, KEY, NOW_MS, OTHER_KEY, OWNER, Engine, read

pytest.importorskip("datasette_auth_tokens")

SEARCH = "datasette/search:call"


def a_library(directory: Path) -> tuple[Path, Path]:
    """A database with one table, and a configuration that asks for a token."""
    database, metadata = directory / "books.db", directory / "metadata.json"
    with closing(sqlite3.connect(database)) as connection:
        connection.executescript("CREATE TABLE book (title); INSERT INTO book VALUES ('Emma')")
    token = {"token": {"$env": "LIBRARY_TOKEN"}, "actor": {"bot_id": "keyfill"}}
    settings = {
        "allow": {"bot_id": "*"},
        "plugins": {"datasette-auth-tokens": {"tokens": [token]}},
    }
    metadata.write_text(json.dumps(settings))
    return database, metadata


@asynccontextmanager
async def a_datasette(directory: Path) -> AsyncIterator[str]:
    """The base URL of a Datasette that wants KEY as its token."""
    port = free_port()
    database, metadata = a_library(directory)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "datasette", "serve", database, "-m", metadata, "-p", str(port)),
        env={**os.environ, "LIBRARY_TOKEN": KEY.decode()},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        await until_it_answers(f"http://127.0.0.1:{port}/")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        await process.wait()


async def until_it_answers(url: str) -> None:
    """Wait for a server that is starting."""
    async with aiohttp.ClientSession() as session, patiently():
        while True:
            try:
                async with session.get(url):
                    return
            except aiohttp.ClientConnectorError:
                await asyncio.sleep(0.05)


async def test_a_datasette_token_can_be_pooled_and_used(tmp_path: Path) -> None:
    """A live token is taken, a wrong one is not, and buyers read tables and nothing else."""
    async with a_datasette(tmp_path) as base_url, Egress() as egress:
        store = KeyStore(tmp_path / "keys.sqlite")
        vault = Vault(
            store=store,
            wrapper=LocalKeyWrapper(tmp_path / "kek"),
            catalogue=load_catalogue(
                overrides={"datasette": base_url}, private_networks=["datasette"]
            ),
            egress=egress,
            clock_ms=lambda: NOW_MS,
        )
        wrong = await vault.contribute(OWNER, "datasette", Secret(OTHER_KEY), attested=True)
        assert isinstance(wrong, Reject)
        assert wrong.code is RejectCode.HEALTH_CHECK_FAILED
        pooled = await vault.contribute(OWNER, "datasette", Secret(KEY), attested=True)
        assert isinstance(pooled, Contributed)
        engine = Engine()
        engine.lease(pooled.key_id, resource=SEARCH)
        proxy = vault.proxy(engine)
        table = CallRequest(method="GET", path="/books/book.json", query="_shape=array")
        answer = await proxy.call(INTENT, table, buyer=BUYER)
        assert isinstance(answer, Answer)
        assert json.loads(await read(answer)) == [{"rowid": 1, "title": "Emma"}]
        own = CallRequest(method="GET", path="/-/metadata.json")
        refusal = await proxy.call(INTENT, own, buyer=BUYER)
        assert isinstance(refusal, Reject)
        assert refusal.code is RejectCode.OPERATION_FORBIDDEN
        assert engine.ends == [(Outcome.DELIVERED, 1)]
        store.close()
