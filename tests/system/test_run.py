"""A market and what surrounds it: a node that goes away, a crash between two stores, wrong use."""

import asyncio
import sqlite3
from pathlib import Path

import pytest

from contracts.anvil import Anvil, Options
from solver.client import Contributor, Market, SigningKey
from solver.demo.model_upstream import ModelUpstream
from solver.demo.process import StartFailed
from solver.demo.stage import stage
from solver.run import StartRefused, market
from solver.runtime.config import Config, load_config
from solver.vault import Egress, KeyStore, LocalKeyWrapper, Secret, Vault, load_catalogue
from tests.canary import CANARY
from tests.system.load import keyfill

OUTAGE_SECONDS = 7.0
"""Longer than the market waits between two reconciliations."""


async def test_a_node_that_goes_away_only_makes_the_market_wait(tmp_path: Path) -> None:
    """The chain is gone for some seconds: the market answers on, and goes on when it is back."""
    state = tmp_path / "chain.json"
    anvil = Anvil.start(Options(block_time_ms=200, state=state, history=True))
    config = load_config(
        None,
        data_dir=tmp_path / "data",
        port=0,
        chain={"rpc_url": anvil.url, "block_seconds": 0.2},
    )
    async with market(config) as node, Market(node.url) as seen:
        await asyncio.to_thread(anvil.stop)
        await asyncio.sleep(OUTAGE_SECONDS)
        assert (await seen.now()).time_ms
        again = Options(block_time_ms=200, state=state, history=True, port=anvil.port)
        anvil = await asyncio.to_thread(Anvil.start, again)
        cursor = node.sequencer.market.state.cursor
        async with asyncio.timeout(60):
            while node.sequencer.market.state.cursor <= cursor:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        assert (await node.reconcile()).is_clean
    await asyncio.to_thread(anvil.stop)


async def test_a_key_that_was_sealed_but_never_pooled_can_be_contributed_again(
    tmp_path: Path,
) -> None:
    """A crash between sealing and pooling leaves nothing behind that locks the key up."""
    upstream, config = await _an_upstream(tmp_path)
    async with market(config):
        pass
    await _seal_and_crash(config)
    async with market(config) as node, Market(node.url) as seen:
        contributor = Contributor(seen, SigningKey.generate())
        pooled = await contributor.contribute("openai-compatible", CANARY, attest=True)
        assert list(node.sequencer.market.state.keys) == [pooled.key]
    await upstream.stop()


async def test_settings_that_would_do_nothing_are_refused(tmp_path: Path) -> None:
    """A resource that nobody sells cannot be told to trade in epochs."""
    config = load_config(
        None, data_dir=tmp_path, port=0, market={"epoch_resources": ["nobody/sells:this"]}
    )
    with pytest.raises(BaseExceptionGroup) as caught:
        async with market(config):
            pass
    assert caught.group_contains(StartRefused, match="no provider sells")


async def test_the_demo_deletes_nobody_elses_files(tmp_path: Path) -> None:
    """A folder with files that are not a demo's is left as it was."""
    (tmp_path / "thesis.tex").write_text("ten years of work")
    async with stage(tmp_path) as built:
        with pytest.raises(StartFailed, match="not empty"):
            await built.start_chain()
    assert (tmp_path / "thesis.tex").read_text() == "ten years of work"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("balance", "run `keyfill up`"),
        ("account show", "run `keyfill up`"),
        ("account new --key-file /", "exists"),
        ("intent create a/b:c --units 1 --limit 1 --key-file / --url http://[::1]:1", "keyfill:"),
        ("balance --url http://127.0.0.1:1", "Cannot connect"),
        ("intent show 0x00 --url http://127.0.0.1:1", "Cannot connect"),
        ("key add datasette --secret-file missing.txt", "cannot be read"),
        ("up --config missing.toml", "missing.toml"),
        ("up --port 99999", "port"),
    ],
)
async def test_wrong_use_is_one_line_that_helps(tmp_path: Path, words: str, told: str) -> None:
    """Whatever a person gets wrong: exit code 1, what to do, and no traceback."""
    code, output = await keyfill(tmp_path, words)
    assert code == 1
    assert told in output
    assert "Traceback" not in output


@pytest.mark.parametrize("amount", ["inf", "nan", "1e999999", "-1", "0.0000001", "ten", "1e30"])
async def test_odd_amounts_are_refused(tmp_path: Path, amount: str) -> None:
    """What is no amount of USDC changes nothing and says so."""
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "me.key").write_text("11" * 32)
    words = f"intent create a/b:c --units 1 --limit {amount} --url http://127.0.0.1:1"
    code, output = await keyfill(tmp_path, words)
    assert code == 1
    assert "no amount of USDC" in output or "Cannot connect" in output
    assert "Traceback" not in output


async def _an_upstream(tmp_path: Path) -> tuple[ModelUpstream, Config]:
    corpus = tmp_path / "docs.db"
    with sqlite3.connect(corpus) as connection:
        connection.execute("CREATE TABLE pages (id INTEGER, text TEXT)")
    upstream = ModelUpstream()
    await upstream.start(corpus)
    upstream.add_key(CANARY)
    config = load_config(
        None,
        data_dir=tmp_path / "data",
        port=0,
        upstreams={"openai-compatible": upstream.url},
        private_networks=["openai-compatible"],
    )
    return upstream, config


async def _seal_and_crash(config: Config) -> None:
    """What a contribution leaves if the process dies before the market hears of the key."""
    catalogue = load_catalogue(
        overrides={name: str(url).rstrip("/") for name, url in config.upstreams.items()},
        private_networks=config.private_networks,
    )
    store = KeyStore(config.data_dir / "vault.db")
    async with Egress() as egress:
        vault = Vault(
            store=store,
            wrapper=LocalKeyWrapper(config.data_dir / "vault.kek"),
            catalogue=catalogue,
            egress=egress,
            clock_ms=lambda: 1,
        )
        owner = "0x" + "0a" * 20
        sealed = await vault.contribute(
            owner, "openai-compatible", Secret(CANARY.encode()), attested=True
        )
        assert vault.key_ids() == [sealed.key_id]  # type: ignore[union-attr]
    store.close()
