"""Puts a market together: the only module that knows all parts.

`market` starts everything in the order in which it depends on each other, and stops it in
reverse. If any part fails, all stop (P8): the journal has what was acknowledged.
"""

import asyncio
import fcntl
import os
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import Final

import msgspec
import structlog

from contracts.anvil import DEV_KEY
from contracts.deploy import (
    SESSION_CAP_MAX,
    Deployment,
    Plan,
    SessionPlan,
    deploy_once,
    grant_session,
)
from contracts.deploy import send as send_transaction
from intents.admission import Rules
from intents.reject import Reject
from intents.signature import SigningKey
from intents.typed_data import Domain
from solver.bridge import MarketDelivery, VaultCustody
from solver.core.command import (
    FinishCall,
    KeyEnd,
    Mode,
    OpenResource,
    RetireKey,
)
from solver.core.state import CREDIT, State
from solver.engine.collector import uncollected
from solver.engine.competition import Competition
from solver.engine.recovery import lost_calls
from solver.engine.sequencer import Sequencer
from solver.gateway.app import create_app
from solver.gateway.door import Door
from solver.gateway.limit import Limits
from solver.gateway.rotation import Rotations
from solver.gateway.server import serve
from solver.journal import Genesis, Journal
from solver.journal.keeper import SnapshotKeeper
from solver.journal.recovery import JOURNAL, SNAPSHOTS, restore
from solver.runtime.clock import SystemClock
from solver.runtime.config import Config
from solver.settlement.chain import ChainClient
from solver.settlement.cutter import CutPolicy, Cutter
from solver.settlement.fault import ChainUnreachable, RequestRefused
from solver.settlement.local_chain import LocalChain
from solver.settlement.outbox import Identity, Outbox
from solver.settlement.reconcile import Reconciliation, reconcile
from solver.settlement.session import session_left
from solver.settlement.signatures import ContractSignatures
from solver.settlement.submit_policy import SubmitPolicy
from solver.settlement.submitter import Submitter
from solver.settlement.token import DECIMALS, check_token
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

ATOMS_PER_USDC: Final = 10**DECIMALS
SESSION_SECONDS: Final = 365 * 86_400
LOCAL_GAS_FUNDS_WEI: Final = 10 * 10**18
RECONCILE_SECONDS: Final = 5
DRAIN_SECONDS_MAX: Final = 10
RECOVERY_TOLD_EVERY: Final = 1_000_000
SECRET_BYTES: Final = 32
LOCAL_CHAIN_ID: Final = 31_337
SELECTIONS: Final = {"least-recently-used": least_recently_used, "round-robin": round_robin}
LOG: Final = structlog.get_logger("solver.run")


class StartRefused(Exception):
    """The market cannot start as it is set up; the message says what to do."""


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


class _Ground(msgspec.Struct, frozen=True, kw_only=True):
    """What the market stands on: a node, the contracts there, the key that may settle."""

    rpc_url: str
    chain: ChainClient
    deployment: Deployment
    session: SigningKey


@asynccontextmanager
async def market(config: Config) -> AsyncIterator[Node]:
    """Run a market until the block is left, or a part fails.

    Raises StartRefused, and the faults of the parts that refuse to start.
    """
    config.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    async with AsyncExitStack() as stack:
        stack.enter_context(_sole_user_of(config.data_dir))
        rpc_url = await _chain_url(config, stack)
        chain = ChainClient(rpc_url, chain_id=config.chain.chain_id)
        stack.push_async_callback(chain.close)
        session = _key(config.data_dir / "operator" / "session.key")
        ground = _Ground(
            rpc_url=rpc_url,
            chain=chain,
            deployment=await _deploy(config, chain, session),
            session=session,
        )
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
async def _running(config: Config, ground: _Ground, sequencer: Sequencer) -> AsyncIterator[Node]:
    """Start the tasks and the gateway over a recovered sequencer."""
    chain, deployment = ground.chain, ground.deployment
    async with AsyncExitStack() as stack:
        vault = await _vault(config, sequencer, stack)
        proxy = vault.proxy(MarketDelivery(sequencer), strategy=SELECTIONS[config.market.selection])
        submitter = _submitter(config, ground, sequencer, stack)
        watcher = _watcher(config, chain, deployment, sequencer)
        domain = Domain(chain_id=config.chain.chain_id, verifying_contract=deployment.settlement)
        custody = VaultCustody(vault, proxy, sequencer)
        rules = Rules(domain=domain, assets=frozenset({deployment.usdc, CREDIT}))
        verifiers = Verifiers(rules, processes=_verifier_count(config))
        door = create_app(
            sequencer=sequencer,
            rules=rules,
            custody=custody,
            contract_signatures=ContractSignatures(chain, deployment),
            grant_secret=_secret_file(config.data_dir / "grant.secret"),
            clock=SystemClock(),
            receipt_key=ground.session,
            limits=_limits(config),
            alarms=lambda: _alarms(submitter),
            verifiers=await stack.enter_async_context(verifiers.running()),
            rotations=stack.enter_context(closing(Rotations(config.data_dir / "rotation.db"))),
        )
        async with asyncio.TaskGroup() as tasks:
            core = [tasks.create_task(sequencer.run()), tasks.create_task(sequencer.run_timer())]
            await _settle_start(config, vault, sequencer)
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


async def _chain_url(config: Config, stack: AsyncExitStack) -> str:
    """The node's URL; starts a local chain that is kept in the data folder, if none was named."""
    if config.chain.rpc_url is not None:
        return str(config.chain.rpc_url)
    chain = await asyncio.to_thread(LocalChain.start, config.data_dir)
    stack.push_async_callback(asyncio.to_thread, chain.stop)
    return chain.url


async def _deploy(config: Config, chain: ChainClient, session: SigningKey) -> Deployment:
    """The contracts: found where the data folder says, or put there the first time."""
    deployer, usdc, gas_funds_wei = _deployer(config), _token(config), _gas_funds_wei(config)
    await chain.start()
    owner = _key(config.data_dir / "operator" / "owner.key")
    wallet = Wallet(chain, [deployer, owner])
    path = config.data_dir / "deployment.json"
    if not path.exists():
        if usdc is not None:
            await check_token(wallet, usdc)
        await send_transaction(wallet, deployer.address, owner.address, b"", 2 * gas_funds_wei)
    plan = Plan(
        chain_id=config.chain.chain_id,
        deployer=deployer.address,
        owner=owner.address,
        usdc=usdc,
        exit_delay_s=config.chain.exit_delay_seconds,
    )
    deployment = await deploy_once(wallet, plan, path)
    if usdc not in (None, deployment.usdc):
        raise StartRefused(f"chain.usdc is {usdc}, but {path} settles {deployment.usdc}")
    await _renew_session(config, wallet, deployment, session)
    return deployment


def _token(config: Config) -> str | None:
    """The token to settle; None where a test token may stand in for it."""
    if config.chain.usdc is None and config.chain.chain_id != LOCAL_CHAIN_ID:
        raise StartRefused("set chain.usdc: a test token is for a local chain only")
    return config.chain.usdc.lower() if config.chain.usdc else None


def _gas_funds_wei(config: Config) -> int:
    if config.chain.gas_funds_wei is not None:
        return config.chain.gas_funds_wei
    if config.chain.chain_id != LOCAL_CHAIN_ID:
        raise StartRefused("set chain.gas_funds_wei: 10 ether by default is for a local chain only")
    return LOCAL_GAS_FUNDS_WEI


async def _renew_session(
    config: Config, wallet: Wallet, deployment: Deployment, session: SigningKey
) -> None:
    """Grant the session anew before its time or its cap runs out; what was spent stays spent."""
    wanted_atoms = config.chain.session_cap_usdc * ATOMS_PER_USDC
    left = await session_left(wallet, deployment, session.address)
    now_s = int(time.time())
    if left.lasts(now_s + SESSION_SECONDS // 4, wanted_atoms // 4):
        return
    plan = SessionPlan(
        key=session.address,
        expires_at=now_s + SESSION_SECONDS,
        cap=min(left.spent + wanted_atoms, SESSION_CAP_MAX),
        gas_funds_wei=_gas_funds_wei(config),
    )
    await grant_session(wallet, deployment, plan)


def _deployer(config: Config) -> SigningKey:
    if config.chain.deployer_key_file is not None:
        return SigningKey(bytes.fromhex(config.chain.deployer_key_file.read_text().strip()[-64:]))
    if config.chain.chain_id != LOCAL_CHAIN_ID:
        raise StartRefused(
            "set chain.deployer_key_file: Anvil's well-known key is for a local chain only"
        )
    return SigningKey(DEV_KEY)


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
    return Sequencer(recovered.market, journal, SystemClock(), recovered.feed, recovered.outcome)


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
        await _require(sequencer, lost)
    _check_modes(config, vault, state)
    for provider in vault.catalogue.providers():
        for resource in provider.resources:
            mode = resource.trading
            if resource.name in config.market.epoch_resources:
                mode = Mode.EPOCH
            if resource.name not in state.resources:
                await _require(sequencer, OpenResource(resource=resource.name, mode=mode))
    for key_id in await asyncio.to_thread(vault.key_ids):
        # Sealed, but the crash came before the market pooled it: its owner can start over.
        if key_id not in state.keys:
            await asyncio.to_thread(vault.revoke, key_id)
    for key_id, key in list(state.keys.items()):
        # Erased, but the crash came before the market heard of it.
        if key.live and vault.describe(key_id) is None:
            await _require(sequencer, RetireKey(key=key_id, reason=KeyEnd.REVOKED))


def _check_modes(config: Config, vault: Vault, state: State) -> None:
    """Refuse settings that would silently do nothing."""
    for name in config.market.epoch_resources:
        if vault.catalogue.resource(name) is None:
            raise StartRefused(f"market.epoch_resources names {name}, which no provider sells")
        if state.resources.get(name, Mode.EPOCH) is not Mode.EPOCH:
            raise StartRefused(f"{name} is listed as continuous since it was first opened")


async def _require(sequencer: Sequencer, command: FinishCall | OpenResource | RetireKey) -> None:
    result = await sequencer.submit(command)
    if isinstance(result, Reject):
        raise StartRefused(f"{type(command).__name__}: {result.message}")


def _submitter(
    config: Config, ground: _Ground, sequencer: Sequencer, stack: AsyncExitStack
) -> Submitter:
    identity = Identity(
        chain_id=ground.deployment.chain_id,
        account=ground.deployment.operator_account,
        sender=ground.session.address,
    )
    outbox = Outbox(config.data_dir / "outbox.db", identity)
    stack.callback(outbox.close)
    return Submitter(
        chain=ground.chain,
        outbox=outbox,
        sequencer=sequencer,
        deployment=ground.deployment,
        key=ground.session,
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
        fills_max=config.market.batch_fills_max, interval_ms=config.market.batch_interval_ms
    )


def _alarms(submitter: Submitter) -> list[str]:
    """What a person should see to, for GET /healthz."""
    status = submitter.status()
    alarms = [f"{alarm.name}: batch {alarm.batch}" for alarm in status.alarms]
    return alarms + [f"batch_failed: batch {number}" for number in status.failed]


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
        intake_connections_of_network_max=rates.network_sockets,
        solver_connections_of_network_max=rates.network_sockets,
        feed_connections_of_network_max=4 * rates.network_sockets,
    )


def _verifier_count(config: Config) -> int:
    if config.gateway.verifiers is not None:
        return config.gateway.verifiers
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _competition(config: Config, deployment: Deployment, sequencer: Sequencer) -> Competition:
    return Competition(
        sequencer,
        STRATEGIES,
        epoch_ms=config.market.epoch_ms,
        assets=(deployment.usdc, CREDIT),
    )


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


def _key(path: Path) -> SigningKey:
    return SigningKey(_secret_file(path))


def _secret_file(path: Path) -> bytes:
    """32 secret bytes in a file that only its owner may read; made on first use, whole."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not path.exists():
        draft = path.with_name(f"{path.name}.new")
        draft.unlink(missing_ok=True)
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(secrets.token_hex(SECRET_BYTES))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    if path.stat().st_mode & 0o077:
        raise StartRefused(f"{path.name} can be read by others: chmod 600 {path.name}")
    try:
        secret = bytes.fromhex(path.read_text().strip())
    except ValueError:
        secret = b""
    if len(secret) != SECRET_BYTES:
        raise StartRefused(f"{path} does not hold {SECRET_BYTES} bytes as hex")
    return secret
