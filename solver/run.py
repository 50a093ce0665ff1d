"""Puts a market together: the only module that knows all parts.

`market` starts everything in the order in which it depends on each other, and stops it in
reverse. If any part fails, all stop (P8): the journal has what was acknowledged.
"""

import asyncio
import fcntl
import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import Final

import msgspec
import structlog

from contracts.deploy import Deployment
from intents.admission import Rules
from intents.typed_data import Domain
from solver.bridge import MarketDelivery, VaultCustody
from solver.core.command import (
    KeyEnd,
    Mode,
    OpenResource,
    RetireKey,
)
from solver.core.state import CREDIT, State
from solver.engine.award import AwardSigner
from solver.engine.collector import uncollected
from solver.engine.competition import Competition
from solver.engine.recovery import lost_calls
from solver.engine.sequencer import Sequencer
from solver.engine.writer import QuickWriter
from solver.gateway.app import create_app
from solver.gateway.door import Door
from solver.gateway.limit import Limits
from solver.gateway.rotation import Rotations
from solver.gateway.server import serve
from solver.ground import Ground, StartRefused, secret_file, stand
from solver.journal import Genesis, Journal
from solver.journal.keeper import SnapshotKeeper
from solver.journal.recovery import JOURNAL, SNAPSHOTS, restore
from solver.rule import require, set_rules
from solver.runtime.clock import SystemClock
from solver.runtime.config import Config
from solver.runtime.cores import usable_cores
from solver.settlement.alarm import Alarms
from solver.settlement.book import BookKeeper
from solver.settlement.chain import ChainClient
from solver.settlement.cutter import CutPolicy, Cutter
from solver.settlement.fault import ChainUnreachable, RequestRefused
from solver.settlement.outbox import Identity, Outbox
from solver.settlement.penalty import PenaltyKeeper
from solver.settlement.reconcile import Reconciliation, reconcile
from solver.settlement.signatures import ContractSignatures
from solver.settlement.submit_policy import SubmitPolicy
from solver.settlement.submitter import Submitter
from solver.settlement.wallet import Wallet
from solver.settlement.watcher import Watcher, WatchPolicy
from solver.strategies import STRATEGIES
from solver.vault import (
    Egress,
    KeyStore,
    LocalKeyWrapper,
    Proxy,
    Vault,
    least_recently_used,
    load_catalogue,
    round_robin,
)
from solver.verifier.pool import Verifiers

RECONCILE_SECONDS: Final = 5
DRAIN_SECONDS_MAX: Final = 10
RECOVERY_TOLD_EVERY: Final = 1_000_000
SELECTIONS: Final = {"least-recently-used": least_recently_used, "round-robin": round_robin}
LOG: Final = structlog.get_logger("solver.run")


class BooksDiffer(Exception):
    """Book and chain do not agree: the market stops, and a person has to look."""


class Node(msgspec.Struct, kw_only=True):
    """A running market."""

    url: str
    rpc_url: str
    deployment: Deployment
    domain: Domain
    sequencer: Sequencer
    chain: ChainClient
    submitter: Submitter

    async def reconcile(self) -> Reconciliation:
        """Compare every balance of the book with the chain."""
        return await reconcile(self.chain, self.sequencer.market.state, self.deployment)


@asynccontextmanager
async def market(config: Config) -> AsyncIterator[Node]:
    """Run a market until the block is left, or a part fails.

    Raises StartRefused, and the faults of the parts that refuse to start.
    """
    config.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    async with AsyncExitStack() as stack:
        stack.enter_context(_sole_user_of(config.data_dir))
        ground = await stand(config, stack)
        sequencer = _recover(config, ground.deployment, stack)
        yield await stack.enter_async_context(_running(config, ground, sequencer))


@contextmanager
def _sole_user_of(folder: Path) -> Iterator[None]:
    """Hold the data folder; two markets on one folder would undo each other."""
    with (folder / "market.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise StartRefused(
                f"another market runs on {folder}: stop it, or name another --data-dir"
            ) from error
        yield


@asynccontextmanager
async def _running(config: Config, ground: Ground, sequencer: Sequencer) -> AsyncIterator[Node]:
    """Start the tasks and the gateway over a recovered sequencer."""
    chain, deployment = ground.chain, ground.deployment
    async with AsyncExitStack() as stack:
        vault = await _vault(config, sequencer, stack)
        proxy = vault.proxy(MarketDelivery(sequencer), strategy=SELECTIONS[config.market.selection])
        outbox = _outbox(config, ground, stack)
        domain = Domain(chain_id=config.chain.chain_id, verifying_contract=deployment.settlement)
        awards = AwardSigner(ground.owner, domain)
        penalty_alarms = Alarms()
        submitter = _submitter(config, ground, sequencer, outbox, awards)
        watcher = _watcher(config, chain, deployment, sequencer)
        custody = VaultCustody(vault, proxy, sequencer)
        rules = Rules(domain=domain, assets=frozenset({deployment.usdc, CREDIT}))
        rotations = Rotations(config.data_dir / "rotation.db", sequencer.market.state.mandates)
        verifiers = Verifiers(rules, processes=_verifier_count(config))
        door = create_app(
            sequencer=sequencer,
            rules=rules,
            custody=custody,
            contract_signatures=ContractSignatures(chain, deployment),
            grant_secret=secret_file(config.data_dir / "grant.secret"),
            clock=SystemClock(),
            receipt_key=ground.session,
            awards=awards,
            limits=_limits(config),
            alarms=lambda: _alarms(submitter, penalty_alarms),
            verifiers=await stack.enter_async_context(verifiers.running()),
            rotations=stack.enter_context(closing(rotations)),
        )
        async with asyncio.TaskGroup() as tasks:
            core = [tasks.create_task(sequencer.run()), tasks.create_task(sequencer.run_timer())]
            await _settle_start(config, vault, sequencer)
            await set_rules(config, ground, sequencer)
            await submitter.start()
            await watcher.start()
            node = Node(
                url="",
                rpc_url=ground.rpc_url,
                deployment=deployment,
                domain=domain,
                sequencer=sequencer,
                chain=chain,
                submitter=submitter,
            )
            background = [
                tasks.create_task(work)
                for work in (
                    watcher.run(),
                    submitter.run(),
                    _book_keeper(config, ground, sequencer, outbox).run(),
                    _penalty_keeper(config, ground, sequencer, awards, penalty_alarms).run(),
                    Cutter(sequencer, _cut_policy(config), backlog=submitter.backlog).run(),
                    _competition(config, deployment, sequencer).run(),
                    _reconcile_forever(node),
                    SnapshotKeeper(config.data_dir, lambda: sequencer.seq).run(),
                )
            ]
            try:
                async with _served(door, config) as bound_port:
                    node.url = f"http://{config.host}:{bound_port}"
                    LOG.info("market_open", url=node.url, settlement=deployment.settlement)
                    yield node
                await _drain(proxy)
            finally:
                for task in [*background, *core]:
                    task.cancel()


@asynccontextmanager
async def _served(door: Door, config: Config) -> AsyncIterator[int]:
    async with AsyncExitStack() as stack:
        try:
            bound_port = await stack.enter_async_context(serve(door, config.host, config.port))
        except OSError as error:
            raise StartRefused(
                f"cannot listen on {config.host}:{config.port} ({error.strerror}): "
                "another program has it; choose another --port"
            ) from error
        yield bound_port


def _recover(config: Config, deployment: Deployment, stack: AsyncExitStack) -> Sequencer:
    """Bring the market back: the newest snapshot and the journal, verified on the way."""
    genesis = Genesis(
        chain_id=deployment.chain_id, settlement=deployment.settlement, usdc=deployment.usdc
    )
    journal = Journal.open(config.data_dir / JOURNAL, genesis)
    stack.callback(journal.close)
    with uncollected():
        found = restore(journal, config.data_dir / SNAPSHOTS, _told_now_and_then())
    LOG.info(
        "journal_replayed",
        commands=found.recovered.seq,
        snapshot=found.snapshot_seq,
        passed_over=found.passed_over,
        outcome=found.recovered.outcome.hex(),
    )
    recovered = found.recovered
    return Sequencer(
        recovered.market,
        journal,
        SystemClock(),
        recovered.feed,
        recovered.outcome,
        writer=QuickWriter(),
    )


def _told_now_and_then() -> Callable[[int], None]:
    """Log how far a long recovery is."""
    told = 0

    def tell(seq: int) -> None:
        nonlocal told
        if seq - told >= RECOVERY_TOLD_EVERY:
            told = seq
            LOG.info("journal_is_replayed", commands=seq)

    return tell


async def _vault(config: Config, sequencer: Sequencer, stack: AsyncExitStack) -> Vault:
    store = KeyStore(config.data_dir / "vault.db")
    stack.callback(store.close)
    egress = await stack.enter_async_context(Egress())
    catalogue = load_catalogue(
        config.providers_dir,
        overrides={name: str(url).rstrip("/") for name, url in config.upstreams.items()},
        private_networks=config.private_networks,
    )
    return Vault(
        store=store,
        wrapper=LocalKeyWrapper(config.data_dir / "vault.kek"),
        catalogue=catalogue,
        egress=egress,
        clock_ms=sequencer.now_ms,
    )


async def _settle_start(config: Config, vault: Vault, sequencer: Sequencer) -> None:
    """Bring what a crash may have left apart together again, and list the resources."""
    state = sequencer.market.state
    for lost in lost_calls(sequencer.market):
        await require(sequencer, lost)
    _check_modes(config, vault, state)
    for provider in vault.catalogue.providers():
        for resource in provider.resources:
            mode = resource.trading
            if resource.name in config.market.epoch_resources:
                mode = Mode.EPOCH
            if resource.name not in state.resources:
                await require(sequencer, OpenResource(resource=resource.name, mode=mode))
    for key_id in await asyncio.to_thread(vault.key_ids):
        # Sealed, but the crash came before the market pooled it: its owner can start over.
        # One that the market found dead goes as well: nothing can use it.
        if key_id not in state.keys or not state.keys[key_id].live:
            await asyncio.to_thread(vault.revoke, key_id)
    for key_id, key in list(state.keys.items()):
        # Erased, but the crash came before the market heard of it.
        if key.live and vault.describe(key_id) is None:
            await require(sequencer, RetireKey(key=key_id, reason=KeyEnd.REVOKED))


def _check_modes(config: Config, vault: Vault, state: State) -> None:
    """Refuse settings that would silently do nothing."""
    for name in config.market.epoch_resources:
        if vault.catalogue.resource(name) is None:
            raise StartRefused(f"market.epoch_resources names {name}, which no provider sells")
        if state.resources.get(name, Mode.EPOCH) is not Mode.EPOCH:
            raise StartRefused(f"{name} is listed as continuous since it was first opened")


def _outbox(config: Config, ground: Ground, stack: AsyncExitStack) -> Outbox:
    identity = Identity(
        chain_id=ground.deployment.chain_id,
        account=ground.deployment.operator_account,
        sender=ground.session.address,
    )
    outbox = Outbox(config.data_dir / "outbox.db", identity)
    stack.callback(outbox.close)
    return outbox


def _book_keeper(
    config: Config, ground: Ground, sequencer: Sequencer, outbox: Outbox
) -> BookKeeper:
    return BookKeeper(
        chain=ground.chain,
        outbox=outbox,
        sequencer=sequencer,
        wallet=Wallet(ground.chain, [ground.librarian]),
        sender=ground.librarian.address,
        interval_ms=_poll_ms(config),
    )


def _penalty_keeper(
    config: Config, ground: Ground, sequencer: Sequencer, awards: AwardSigner, alarms: Alarms
) -> PenaltyKeeper:
    return PenaltyKeeper(
        chain=ground.chain,
        sequencer=sequencer,
        deployment=ground.deployment,
        wallet=Wallet(ground.chain, [ground.owner]),
        awards=awards,
        alarms=alarms,
        interval_ms=_poll_ms(config),
    )


def _submitter(
    config: Config,
    ground: Ground,
    sequencer: Sequencer,
    outbox: Outbox,
    awards: AwardSigner,
) -> Submitter:
    return Submitter(
        chain=ground.chain,
        outbox=outbox,
        sequencer=sequencer,
        deployment=ground.deployment,
        key=ground.session,
        awards=awards,
        policy=SubmitPolicy(interval_ms=_poll_ms(config)),
    )


def _watcher(
    config: Config, chain: ChainClient, deployment: Deployment, sequencer: Sequencer
) -> Watcher:
    policy = WatchPolicy(interval_ms=_poll_ms(config))
    return Watcher(chain=chain, sequencer=sequencer, deployment=deployment, policy=policy)


def _poll_ms(config: Config) -> int:
    """Look at the chain a few times a block."""
    return max(50, round(config.chain.block_seconds * 250))


def _cut_policy(config: Config) -> CutPolicy:
    return CutPolicy(
        fills_max=config.market.batch_fills_max,
        interval_ms=config.market.batch_interval_ms,
        metered_interval_ms=config.market.metered_interval_ms,
        unsigned_ms=config.market.unsigned_ms,
    )


def _alarms(submitter: Submitter, penalties: Alarms) -> list[str]:
    """What a person should see to, for GET /healthz."""
    status = submitter.status()
    alarms = [f"{alarm.name}: batch {alarm.batch}" for alarm in status.alarms]
    alarms += [f"batch_failed: batch {number}" for number in status.failed]
    told = penalties.standing.values()
    return alarms + [f"{alarm.name}: auction {alarm.batch}" for alarm in told]


def _limits(config: Config) -> Limits:
    rates = config.gateway
    return Limits(
        address_per_second=rates.address_per_second,
        address_burst=2 * rates.address_per_second,
        account_per_second=rates.account_per_second,
        account_burst=2 * rates.account_per_second,
        address_documents_per_second=rates.documents_per_second,
        address_documents_burst=2 * rates.documents_per_second,
        account_documents_per_second=rates.documents_per_second,
        account_documents_burst=2 * rates.documents_per_second,
        connections_of_network_max=32 * rates.network_sockets,
        intake_connections_of_network_max=rates.network_sockets,
        solver_connections_of_network_max=rates.network_sockets,
        feed_connections_of_network_max=4 * rates.network_sockets,
    )


def _verifier_count(config: Config) -> int:
    if config.gateway.verifiers is not None:
        return config.gateway.verifiers
    return usable_cores()


def _competition(config: Config, deployment: Deployment, sequencer: Sequencer) -> Competition:
    return Competition(
        sequencer,
        {name: STRATEGIES[name] for name in config.auction.strategies},
        epoch_ms=config.market.epoch_ms,
        award_blocks=_award_blocks(config),
        assets=(deployment.usdc, CREDIT),
        randomness=secrets.token_bytes,
    )


def _award_blocks(config: Config) -> int:
    """A bond leaves two exit delays after it was asked back: within one its awards are over."""
    blocks = config.auction.award_blocks
    if not config.auction.bond_atoms_min:
        return blocks
    return min(blocks, int(config.chain.exit_delay_seconds / config.chain.block_seconds))


async def _reconcile_forever(node: Node) -> None:
    """Hold the book against the chain; a difference stops the market (P7, P8).

    A node that does not answer, or has forgotten the block, is no difference: asked again.
    """
    while True:
        await asyncio.sleep(RECONCILE_SECONDS)
        try:
            found = await node.reconcile()
        except (ChainUnreachable, RequestRefused) as fault:
            LOG.warning("reconcile_waits", reason=str(fault))
            continue
        if not found.is_clean:
            LOG.error("book_and_chain_differ", differences=found.differences)
            raise BooksDiffer(f"book and chain differ at block {found.block}")


async def _drain(proxy: Proxy) -> None:
    try:
        async with asyncio.timeout(DRAIN_SECONDS_MAX):
            await proxy.drain()
    except TimeoutError:
        LOG.warning("calls_cut_short")
