"""A market and what surrounds it: a node that goes away, a crash between two stores, wrong use."""

import asyncio
import sqlite3
from pathlib import Path

import pytest

from contracts.anvil import DEV_KEY, Anvil, Options
from contracts.bindings import USDC
from solver.client import Contributor, Market, SigningKey
from solver.demo.model_upstream import ModelUpstream
from solver.demo.process import StartFailed, free_port
from solver.demo.stage import stage
from solver.ground import StartRefused
from solver.run import market
from solver.runtime.config import Config, load_config
from solver.settlement.chain import ChainClient
from solver.settlement.fault import TokenRefused
from solver.settlement.wallet import Wallet
from solver.vault import Egress, KeyStore, LocalKeyWrapper, Secret, Vault, load_catalogue
from tests.canary import CANARY
from tests.patience import patiently
from tests.system.load import keyfill

FOREIGN_CHAIN_ID = 7_331
OUTAGE_SECONDS = 7.0
"""Longer than the market waits between two reconciliations."""


async def test_a_node_that_goes_away_only_makes_the_market_wait(tmp_path: Path) -> None:
    """The chain is gone for some seconds: the market answers on, and goes on when it is back."""
    state = tmp_path / "chain.json"
    port = free_port()
    anvil = Anvil.start(Options(block_time_ms=200, state=state, history=True, port=port))
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
        again = Options(block_time_ms=200, state=state, history=True, port=port)
        anvil = await asyncio.to_thread(Anvil.start, again)
        cursor = node.sequencer.market.state.cursor
        async with patiently():
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


@pytest.mark.parametrize("missing", ["deployer_key_file", "usdc", "gas_funds_wei"])
async def test_another_chain_than_a_local_one_must_be_told_everything(
    tmp_path: Path, missing: str
) -> None:
    """No test token, no well-known key and no default sum of ether where they are real money.

    The refusal names the setting, and nothing was sent: the node is not even asked.
    """
    chain = _a_foreign_chain(tmp_path, "http://127.0.0.1:9")
    del chain[missing]
    config = load_config(None, data_dir=tmp_path / "data", port=0, chain=chain)
    with pytest.raises(StartRefused, match=f"set chain.{missing}"):
        async with market(config):
            pass


async def test_another_chain_settles_the_token_that_was_named(tmp_path: Path) -> None:
    """What is no token there is refused before anything is sent; the token is used, none is made.

    A data folder is for one token: another one later is refused.
    """
    with Anvil.start(Options(block_time_ms=200)) as anvil:
        anvil.rpc("anvil_setChainId", FOREIGN_CHAIN_ID)
        chain = _a_foreign_chain(tmp_path, anvil.url)
        plain = "0x" + "0a" * 20
        dai = "0x" + "0b" * 20
        anvil.rpc("anvil_setCode", dai, "0x601260005260206000f3")
        for wrong, told in ((plain, "is no token"), (dai, "has 18 decimals, not 6")):
            config = load_config(
                None, data_dir=tmp_path / "data", port=0, chain={**chain, "usdc": wrong}
            )
            with pytest.raises(TokenRefused, match=told):
                async with market(config):
                    pass
        deployer = SigningKey(DEV_KEY).address
        assert int(anvil.rpc("eth_getTransactionCount", deployer, "latest"), 16) == 0
        token = await _a_token(anvil)
        for named in (token.upper().replace("0X", "0x"), token):
            chain["usdc"] = named
            config = load_config(None, data_dir=tmp_path / "data", port=0, chain=chain)
            async with market(config) as node:
                assert node.deployment.usdc == token
                assert (await node.reconcile()).is_clean
        chain["usdc"] = dai
        config = load_config(None, data_dir=tmp_path / "data", port=0, chain=chain)
        with pytest.raises(StartRefused, match=f"settles {token}"):
            async with market(config):
                pass


def _a_foreign_chain(tmp_path: Path, url: str) -> dict[str, object]:
    key_file = tmp_path / "deployer.key"
    key_file.write_text(DEV_KEY.hex())
    return {
        "rpc_url": url,
        "chain_id": FOREIGN_CHAIN_ID,
        "block_seconds": 0.2,
        "deployer_key_file": str(key_file),
        "usdc": "0x" + "0a" * 20,
        "gas_funds_wei": 10**18,
    }


async def _a_token(anvil: Anvil) -> str:
    """Somebody's token with six decimals."""
    chain = ChainClient(anvil.url, chain_id=FOREIGN_CHAIN_ID)
    wallet = Wallet(chain, [key := SigningKey(DEV_KEY)])
    made = await wallet.transact(key.address, None, USDC.creation_code())
    await chain.close()
    assert made.contract_address is not None
    return made.contract_address.lower()


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
