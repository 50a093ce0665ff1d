"""A market on a real Anvil, moved by hand: no interval mining, no sleeps, no timers.

A transaction is mined when it arrives (unless `hold_blocks`), blocks become final when
`finalize` mines two more, and the submitter and the watcher make one pass per `step`.
"""

import asyncio
import itertools
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from tiny_keccak import keccak256

from contracts.anvil import DEV_KEY, Anvil
from contracts.bindings import ACCOUNT, SETTLEMENT, USDC
from contracts.deploy import (
    Deployment,
    Plan,
    Receipt,
    SessionPlan,
    create_account,
    deploy,
    grant_session,
    send,
)
from intents.bound import PERIOD_S_MAX
from intents.document import Intent, Offer
from intents.signature import SigningKey
from intents.typed_data import Domain, digest
from solver.core.command import (
    Authority,
    Command,
    CutBatch,
    EndLeases,
    FinishCall,
    OpenResource,
    Outcome,
    PoolKey,
    StartCall,
    SubmitIntent,
    SubmitOffer,
)
from solver.core.event import Event, Filled
from solver.core.market import Market
from solver.core.state import Batch, State
from solver.engine.award import AwardSigner
from solver.engine.feed import Feed
from solver.engine.group import Group
from solver.engine.payload import decode
from solver.engine.sequencer import Applied, Sequencer
from solver.runtime.clock import ManualClock
from solver.settlement.alarm import Alarm
from solver.settlement.chain import ChainClient
from solver.settlement.outbox import Identity, Outbox
from solver.settlement.reconcile import Reconciliation, reconcile
from solver.settlement.submit_policy import SubmitPolicy
from solver.settlement.submitter import Submitter
from solver.settlement.wallet import Wallet
from solver.settlement.watcher import Watcher, WatchPolicy
from tests.patience import patience_s, patiently, until_it_is
from tests.settlement.faulty import FaultyNode

CHAIN_ID = 31_337
RESOURCE = "tavily/search:call"
USD = 10**6
DEPLOYER = SigningKey(DEV_KEY)
STEPS_MAX = 50
T = TypeVar("T")


class MemoryJournal:
    """Keeps records in memory; writes wait while the gate is closed."""

    def __init__(self) -> None:
        self.records: list[Command] = []
        self.gate = threading.Event()
        self.gate.set()

    def append(self, group: Group) -> int:
        self.gate.wait(patience_s())
        self.records += decode(group.payload)
        return len(self.records)

    def checkpoint(self, state_hash: str) -> None:
        self.last_hash = state_hash

    def has_room(self) -> bool:
        return True


class World:
    """One deployment, one market on it, and the means to move both."""

    def __init__(
        self,
        *,
        anvil: Anvil,
        chain: ChainClient,
        deployment: Deployment,
        sequencer: Sequencer,
        clock: ManualClock,
        journal: MemoryJournal,
        session: SigningKey,
        folder: Path,
    ) -> None:
        self.anvil = anvil
        self.chain = chain
        self.through = chain
        """What submitter and watcher ask; tests put something in between."""
        self.node: FaultyNode
        """The proxy in between, if it is one."""
        self.deployment = deployment
        self.sequencer = sequencer
        self.clock = clock
        self.journal = journal
        self.session = session
        self.folder = folder
        self.alarms: list[Alarm] = []
        self.finality_blocks = 3
        self._held = False
        self.watcher = self.new_watcher()
        self.outbox = self.open_outbox()
        self.submitter = self.new_submitter()
        self._nonces = itertools.count(1)

    # ------------------------------------------------------------------ the parts

    @property
    def state(self) -> State:
        return self.sequencer.market.state

    def new_watcher(self, policy: WatchPolicy | None = None) -> Watcher:
        return Watcher(
            chain=self.through,
            sequencer=self.sequencer,
            deployment=self.deployment,
            policy=policy,
        )

    def open_outbox(self, name: str = "outbox.sqlite") -> Outbox:
        return Outbox(self.folder / name, self.identity())

    def identity(self) -> Identity:
        return Identity(
            chain_id=CHAIN_ID,
            account=self.deployment.operator_account,
            sender=self.session.address,
        )

    @property
    def awards(self) -> AwardSigner:
        """As the operator's owner signs them."""
        domain = Domain(chain_id=CHAIN_ID, verifying_contract=self.deployment.settlement)
        return AwardSigner(DEPLOYER, domain)

    def new_submitter(
        self,
        policy: SubmitPolicy | None = None,
        *,
        chain: ChainClient | None = None,
        outbox: Outbox | None = None,
    ) -> Submitter:
        return Submitter(
            chain=chain or self.through,
            outbox=outbox or self.outbox,
            sequencer=self.sequencer,
            deployment=self.deployment,
            key=self.session,
            awards=self.awards,
            policy=policy,
            on_alarm=self.alarms.append,
        )

    def restart_submitter(self, policy: SubmitPolicy | None = None) -> None:
        """What a new process does: open the outbox's file, remember nothing else."""
        self.outbox.close()
        self.outbox = self.open_outbox()
        self.submitter = self.new_submitter(policy)

    # ------------------------------------------------------------------ the chain

    def mine(self, blocks: int = 1) -> None:
        self.anvil.rpc("anvil_mine", hex(blocks))

    def hold_blocks(self, *, held: bool = True) -> None:
        self._held = held
        self.anvil.rpc("evm_setAutomine", not held)

    def reorganise(self, depth: int, again: Sequence[tuple[bytes, int]] = ()) -> None:
        """Replace the last blocks by others, with only the transactions given, by place.

        Nothing may be on its way: an `anvil_reorg` while Anvil mines leaves a chain with
        holes and another state than its logs tell (seen with 1.7.1).
        """
        held = self._held
        self.hold_blocks()
        self.anvil.rpc("anvil_dropAllTransactions")
        self.mine()
        self.anvil.rpc("evm_increaseTime", 1)
        self.anvil.rpc("anvil_reorg", depth, [["0x" + raw.hex(), at] for raw, at in again])
        self.hold_blocks(held=held)

    async def ask_through(self, chain: ChainClient) -> None:
        """From here on submitter and watcher, new ones, have another way to the node."""
        self.through = chain
        self.submitter = self.new_submitter()
        self.watcher = self.new_watcher()
        await self.watcher.start()

    def sent(self) -> int:
        """Mined transactions of the session key, once Anvil has mined what it took of them.

        It answers a send a moment before it mines it. While blocks are held nothing is waited for.
        """
        until_it_is(lambda: self._held or self._nonce("latest") == self._nonce("pending"))
        return self._nonce("latest")

    def _nonce(self, block: str) -> int:
        return int(self.anvil.rpc("eth_getTransactionCount", self.session.address, block), 16)

    async def mined(self, transaction_hash: str) -> Receipt:
        """The receipt, which Anvil has a moment after it took the transaction."""
        async with patiently():
            while (receipt := await self.chain.receipt(transaction_hash)) is None:  # noqa: ASYNC110  polling what has no event
                await asyncio.sleep(0.002)
        return receipt

    async def finalize(self) -> None:
        """Make all that is mined final, and let the core know."""
        self.mine(self.finality_blocks)
        for _ in range(STEPS_MAX):
            if not await self.watcher.step():
                return
        raise AssertionError("the watcher never catches up")

    async def settle(self) -> None:
        """Pass, finalise, pass, until no batch is open."""
        for _ in range(STEPS_MAX):
            await self.submitter.step()
            await self.finalize()
            if all(batch.final for batch in self.state.batches.values()):
                await self.submitter.step()
                return
        raise AssertionError("a batch never settles")

    async def transact(self, key: SigningKey, to: str, data: bytes, value_wei: int = 0) -> Receipt:
        self.anvil.rpc("anvil_setBalance", key.address, hex(10**20))
        return await send(Wallet(self.chain, [key]), key.address, to, data, value_wei)

    def impersonate(self, sender: str, to: str | None, data: bytes) -> None:
        """Into the pool, unsigned; nobody waits for it."""
        self.anvil.rpc("anvil_setBalance", sender, hex(10**20))
        self.anvil.rpc("anvil_impersonateAccount", sender)
        sent = {"from": sender, "to": to, "data": "0x" + data.hex(), "gas": hex(10**6)}
        self.anvil.rpc("eth_sendTransaction", sent)

    async def deposit(self, account: str, amount: int) -> None:
        token, settlement = self.deployment.usdc, self.deployment.settlement
        await self.transact(DEPLOYER, token, USDC.function("mint").encode(DEPLOYER.address, amount))
        await self.transact(DEPLOYER, token, USDC.function("approve").encode(settlement, amount))
        await self.transact(
            DEPLOYER, settlement, SETTLEMENT.function("deposit").encode(account, amount)
        )

    async def session_account(self, owner: SigningKey) -> str:
        return await create_account(
            Wallet(self.chain, [DEPLOYER]),
            self.deployment.factory,
            sender=DEPLOYER.address,
            owner=owner.address,
        )

    async def grant(
        self,
        owner: SigningKey,
        account: str,
        key: SigningKey,
        *,
        permissions: int,
        cap: int = 10**12,
    ) -> None:
        """A session of the account in the registry, within a cap in any 91 days."""
        expires_at = self.clock.now_ms() // 1_000 + 30 * 86_400
        terms = (0, permissions, keccak256(b""), 0, 0, cap, PERIOD_S_MAX, expires_at, 0, 0)
        await self.by_account(owner, account, "grantSession", (account, key.address, *terms))

    async def revoke(self, owner: SigningKey, account: str, key: SigningKey) -> None:
        await self.by_account(owner, account, "revokeSession", account, key.address)

    async def revoke_operator(self) -> None:
        """Our own key, which our account keeps itself."""
        data = ACCOUNT.function("revokeSession").encode(self.session.address)
        await self.transact(DEPLOYER, self.deployment.operator_account, data)

    async def by_account(
        self, owner: SigningKey, account: str, name: str, *arguments: object
    ) -> None:
        """A session account calls the ledger; its owner sends it."""
        call = SETTLEMENT.function(name).encode(*arguments)
        execute = ACCOUNT.function("execute").encode(self.deployment.settlement, 0, call)
        await self.transact(owner, account, execute)

    async def balance(self, account: str) -> int:
        function = SETTLEMENT.function("accountOf")
        answer = await self.chain.call(self.deployment.settlement, function.encode(account))
        return int(function.decode_outputs(answer)[0][0])

    async def reconcile(self) -> Reconciliation:
        return await reconcile(self.chain, self.state, self.deployment)

    # ------------------------------------------------------------------ the market

    async def do(self, command: Command) -> Applied:
        result = await self.sequencer.submit(command)
        assert isinstance(result, Applied), result
        return result

    def total(self, account: str) -> int:
        return self.state.ledger.balance(account, self.state.usdc).total

    def available(self, account: str) -> int:
        return self.state.ledger.available(account, self.state.usdc)

    async def sell(
        self,
        seller: SigningKey,
        *,
        units: int = 1_000,
        limit: int = USD,
        resource: str = RESOURCE,
    ) -> str:
        """Pool a key and offer from it; returns the offer's digest."""
        nonce = next(self._nonces)
        key = "0x" + f"{nonce:064x}"
        pool = PoolKey(key=key, owner=seller.address, provider="tavily", resources=(resource,))
        await self.do(pool)
        offer = Offer(
            account=seller.address,
            resource=resource,
            asset=self.deployment.usdc,
            key=key,
            units=units,
            limit=limit,
            valid_until=self.clock.now_ms() // 1_000 + 86_400,
            nonce=nonce,
        )
        hashed = self._digest(offer)
        await self.do(
            SubmitOffer(
                offer=offer,
                digest="0x" + hashed.hex(),
                signer=seller.address,
                authority=Authority.KEY,
                signature=seller.sign(hashed),
            )
        )
        return "0x" + hashed.hex()

    async def buy(
        self,
        buyer: SigningKey,
        *,
        units: int = 10,
        limit: int | None = None,
        signer: SigningKey | None = None,
        account: str | None = None,
        authority: Authority = Authority.KEY,
    ) -> tuple[str, list[str]]:
        """Demand, and be filled; returns the intent's digest and its leases."""
        intent, events = await self.bid(
            buyer, units=units, limit=limit, signer=signer, account=account, authority=authority
        )
        fills = [event.fill for event in events if isinstance(event, Filled)]
        assert fills, "nothing was filled"
        return intent, fills

    async def bid(
        self,
        buyer: SigningKey,
        *,
        units: int = 10,
        limit: int | None = None,
        signer: SigningKey | None = None,
        account: str | None = None,
        authority: Authority = Authority.KEY,
        resource: str = RESOURCE,
    ) -> tuple[str, list[Event]]:
        """Demand; returns the intent's digest and what came of it at once."""
        intent = Intent(
            account=account or buyer.address,
            resource=resource,
            asset=self.deployment.usdc,
            units=units,
            limit=units * 2_000 if limit is None else limit,
            valid_until=self.clock.now_ms() // 1_000 + 86_400,
            nonce=next(self._nonces),
        )
        hashed = self._digest(intent)
        result = await self.do(
            SubmitIntent(
                intent=intent,
                digest="0x" + hashed.hex(),
                signer=intent.account if authority is Authority.CONTRACT else buyer.address,
                authority=authority,
                signature=(signer or buyer).sign(hashed),
            )
        )
        return "0x" + hashed.hex(), result.events

    async def consume(self, intent: str, leases: Sequence[str], *, units: int) -> None:
        """Use the first lease, and be done with the intent."""
        call = f"call {next(self._nonces)}"
        await self.do(StartCall(lease=leases[0], call=call, units=units))
        await self.do(FinishCall(call=call, outcome=Outcome.DELIVERED, units=units))
        account = self.state.intents[intent].document.account
        await self.do(EndLeases(account=account, intent=intent))

    async def cut(self, fills_max: int = 50) -> Batch:
        await self.do(CutBatch(fills_max=fills_max))
        return self.state.batches[self.state.batch_next - 1]

    async def a_buyer(self) -> SigningKey:
        """Somebody whose deposit is final."""
        buyer = SigningKey.generate()
        await self.deposit(buyer.address, 5 * USD)
        await self.finalize()
        return buyer

    @asynccontextmanager
    async def writing(
        self, action: Callable[[], Coroutine[Any, Any, T]]
    ) -> AsyncIterator["asyncio.Task[T]"]:
        """Start something while the journal's disk hangs; it goes on at the end."""
        self.journal.gate.clear()
        try:
            task = asyncio.create_task(action())
            yield task
        finally:
            self.journal.gate.set()
        await task

    async def a_batch(self, *, buyers: int = 1, units: int = 8) -> Batch:
        """Someone sells, others deposit, buy and use; what is owed is in a batch."""
        seller = SigningKey.generate()
        await self.sell(seller)
        people = [SigningKey.generate() for _ in range(buyers)]
        for buyer in people:
            await self.deposit(buyer.address, 5 * USD)
        await self.finalize()
        for buyer in people:
            intent, leases = await self.buy(buyer)
            await self.consume(intent, leases, units=units)
        return await self.cut()

    def _digest(self, document: Intent | Offer) -> bytes:
        domain = Domain(chain_id=CHAIN_ID, verifying_contract=self.deployment.settlement)
        return digest(domain.prefix(), document)


@asynccontextmanager
async def a_world(anvil: Anvil, folder: Path, **plan: Any) -> AsyncIterator[World]:
    """Deploy afresh on a running Anvil, and start a market with what was deployed."""
    chain = ChainClient(anvil.url, chain_id=CHAIN_ID)
    session = SigningKey.generate()
    deployment = await deployed(chain, session, **plan)
    head = await chain.head()
    clock, journal = ManualClock(head.timestamp * 1_000), MemoryJournal()
    sequencer = Sequencer(Market(deployment.usdc), journal, clock, Feed())
    task = asyncio.create_task(sequencer.run())
    world = World(
        anvil=anvil,
        chain=chain,
        deployment=deployment,
        sequencer=sequencer,
        clock=clock,
        journal=journal,
        session=session,
        folder=folder,
    )
    try:
        await world.do(OpenResource(resource=RESOURCE))
        await world.watcher.start()
        yield world
    finally:
        world.outbox.close()
        await chain.close()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def deployed(chain: ChainClient, session: SigningKey, **plan: Any) -> Deployment:
    """Contracts of their own, with a session key that may settle and can pay for gas."""
    wallet = Wallet(chain, [DEPLOYER])
    deployment = await deploy(
        wallet,
        Plan(chain_id=CHAIN_ID, deployer=DEPLOYER.address, owner=DEPLOYER.address, **plan),
    )
    head = await chain.head()
    grant = SessionPlan(
        key=session.address, expires_at=head.timestamp + 30 * 86_400, gas_funds_wei=10**18
    )
    await grant_session(wallet, deployment, grant)
    return deployment
