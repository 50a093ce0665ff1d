"""Session keys of the registry: from grants to bars, on Anvil."""

import pytest
from tiny_keccak import keccak256

from contracts.bindings import ACCOUNT, SETTLEMENT
from intents.cap_word import left_at, promisable_at
from intents.policy import Permission
from intents.signature import SigningKey
from intents.typed_data import Domain, digest
from solver.core.command import AcceptReceipt, Authority, CutMetered, SetMetering, StartCall
from solver.core.event import LeaseStatus
from solver.core.metering import FILLS_PER_RECEIPT_MAX, document_of, statement
from solver.core.record import Session
from solver.core.session import left_of
from solver.core.state import Batch
from solver.core.trust import trust_of
from solver.engine.sequencer import Applied
from solver.settlement.book import BookKeeper
from solver.settlement.wallet import Wallet
from tests.settlement.world import CHAIN_ID, DEPLOYER, RESOURCE, USD, World

MAY_SIGN = 2
UNITS = 4
"""Of the contract's Bearer."""
PAID = 8_000
"""Eight units of what `consume` uses, at what `sell` asks."""
DAY_S = 86_400
SESSION, CONTRACT = Authority.SESSION, Authority.CONTRACT
BUYS = Permission.SIGN | Permission.RECEIPT


class Keys:
    """An account contract with money, its owner, and one agent's key."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.owner, self.agent = SigningKey.generate(), SigningKey.generate()
        self.seller = SigningKey.generate()
        self.account = ""

    async def open(self, *, unsettled_max: int = 5 * USD) -> None:
        world = self.world
        rule = SetMetering(
            payment_max=100_000, uncovered_max=1_000_000, unsettled_max=unsettled_max
        )
        await world.do(rule)
        await world.sell(self.seller)
        self.account = await world.session_account(self.owner)
        await world.deposit(self.account, 5 * USD)
        await world.finalize()

    async def by_account(self, name: str, *arguments: object) -> None:
        """The account itself calls the ledger; its owner sends it."""
        await self.world.by_account(self.owner, self.account, name, *arguments)
        await self.world.finalize()

    async def by_owner(self, name: str, *arguments: object) -> None:
        """The owner changes something of the account's own."""
        call = ACCOUNT.function(name).encode(*arguments)
        await self.world.transact(self.owner, self.account, call)
        await self.world.finalize()

    async def register(self, *, spend: int = USD, permissions: int = BUYS, team: int = 0) -> None:
        """The agent's key is in the registry."""
        resource, period = keccak256(b""), DAY_S if spend else 0
        grant = (self.account, self.agent.address, team, permissions, resource, 0, 0, spend)
        await self.by_account("grantSession", (*grant, period, 2**32 - 1, 0, 0))

    async def use(self, *, units: int = 8, authority: Authority = SESSION) -> str:
        """The agent buys ten units and uses some; the fill's id."""
        intent, fills = await self.buy(authority=authority)
        await self.world.consume(intent, fills, units=units)
        return fills[0]

    async def buy(self, *, authority: Authority = SESSION) -> tuple[str, list[str]]:
        signer = self.agent if authority is SESSION else self.owner
        return await self.world.buy(signer, account=self.account, authority=authority)

    async def refused(self) -> str:
        """Why the agent cannot buy."""
        with pytest.raises(AssertionError) as refusal:
            await self.buy()
        return str(refusal.value)

    async def receipt(self) -> AcceptReceipt:
        state = self.world.state
        said = statement(state, state.metering.meters[self.account], FILLS_PER_RECEIPT_MAX)
        document = document_of(state, self.account, said)
        domain = Domain(chain_id=CHAIN_ID, verifying_contract=self.world.deployment.settlement)
        return AcceptReceipt(
            receipt=document,
            fills=said.fills,
            signer=self.agent.address,
            authority=SESSION,
            signature=self.agent.sign(digest(domain.prefix(), document)),
        )

    async def settle_metered(self) -> Batch:
        world = self.world
        await world.do(CutMetered(fills_max=1_000, unsigned_ms=60_000))
        keeper = BookKeeper(
            chain=world.chain,
            outbox=world.outbox,
            sequencer=world.sequencer,
            wallet=Wallet(world.chain, [DEPLOYER]),
            sender=DEPLOYER.address,
        )
        await keeper.step()
        world.mine(world.finality_blocks)
        await keeper.step()
        batch = world.state.batches[world.state.batch_next - 1]
        await world.settle()
        return batch

    async def settle(self) -> Batch:
        batch = await self.world.cut()
        await self.world.settle()
        return batch

    def session(self) -> Session:
        return self.world.state.accounts[self.account].sessions[self.agent.address]

    def left(self) -> int:
        return left_of(self.world.state, self.account, self.session())

    @property
    def barred(self) -> bool:
        return trust_of(self.world.state, self.account).barred

    async def word(self, bearer: int = 0, subject: int | None = None) -> int:
        """A bearer's word on chain; the agent's own, unless told otherwise."""
        asked = SETTLEMENT.function("wordOf")
        named = int(self.agent.address, 16) if subject is None else subject
        data = asked.encode(bearer, self.account, named)
        answer = await self.world.chain.call(self.world.deployment.settlement, data)
        return int(asked.decode_outputs(answer)[0])


async def test_a_registry_keys_small_calls_settle_by_its_receipt(world: World) -> None:
    """Granted, bought with, signed for and settled; our word of the key is the chain's."""
    keys = Keys(world)
    await keys.open()
    await keys.register()
    fills = [await keys.use() for _ in range(3)]
    assert all(world.state.leases[fill].metered for fill in fills)
    await world.do(await keys.receipt())
    batch = await keys.settle_metered()
    assert (batch.paid, batch.skipped) == (3 * PAID, 0)
    assert {world.state.leases[fill].status for fill in fills} == {LeaseStatus.SETTLED}
    assert int(keys.session().word, 16) == await keys.word()
    assert (await world.reconcile()).is_clean
    world.anvil.rpc("evm_increaseTime", DAY_S // 4)
    world.mine()
    await keys.use()
    await world.do(await keys.receipt())
    await keys.settle_metered()
    assert int(keys.session().word, 16) == await keys.word()


async def test_revocation_in_the_registry_stops_a_key_at_once(world: World) -> None:
    """What it bought serves no more, its receipt is void, and it buys nothing."""
    keys = Keys(world)
    await keys.open()
    await keys.register()
    await keys.use()
    await world.do(await keys.receipt())
    _, fills = await keys.buy()
    await keys.by_account("revokeSession", keys.account, keys.agent.address)
    call = StartCall(lease=fills[0], call="late", units=1)
    result = await world.sequencer.submit(call)
    assert not isinstance(result, Applied)
    assert result.code == "lease_ended"
    assert "not_authorized" in await keys.refused()
    assert world.state.metering.meters[keys.account].receipt is None
    again = await world.sequencer.submit(await keys.receipt())
    assert not isinstance(again, Applied)
    assert again.code == "not_authorized"


async def test_revoke_all_stops_the_registrys_keys(world: World) -> None:
    """One event for all of them, however many there are; a grant of the next epoch is good."""
    keys = Keys(world)
    await keys.open()
    await keys.register()
    await keys.by_account("revokeSessions", keys.account)
    assert "not_authorized" in await keys.refused()


async def test_the_registrys_caps_bound_what_is_bought(world: World) -> None:
    """Of the key, of its team, of the account: the smallest that is left, as the chain says it."""
    keys = Keys(world)
    await keys.open()
    await keys.register(spend=60_000, team=7)
    assert left_at(await keys.word(), 0) == 60_000
    assert keys.left() == promisable_at(await keys.word(), 0)
    await keys.by_account("setCap", 1, 7, 40_000, DAY_S)
    assert keys.left() == promisable_at(await keys.word(1, 7), 0) != 40_000
    await keys.by_account("setCap", 2, 0, 30_000, DAY_S)
    assert keys.left() == promisable_at(await keys.word(2, 0), 0) != 30_000
    await keys.use()
    await world.do(await keys.receipt())
    await keys.settle_metered()
    caps = world.state.metering.caps[keys.account]
    assert int(caps.teams[7], 16) == await keys.word(1, 7)
    assert int(caps.root, 16) == await keys.word(2, 0)
    assert int(keys.session().word, 16) == await keys.word()
    assert "session_cap_exceeded" in await _too_much(keys)
    await keys.by_account("setTeam", keys.agent.address, 0)
    await keys.by_account("setCap", 2, 0, 0, 0)
    assert keys.left() >= 60_000 - PAID - 60_000 // 100


async def _too_much(keys: Keys) -> str:
    with pytest.raises(AssertionError) as refusal:
        await keys.world.buy(
            keys.agent, account=keys.account, authority=SESSION, units=10, limit=22_001
        )
    return str(refusal.value)


async def test_a_lowered_cap_ends_what_it_cannot_pay(world: World) -> None:
    """The owner lowers the account's cap below what its keys have promised."""
    keys = Keys(world)
    await keys.open()
    await keys.register()
    _, fills = await keys.buy()
    await keys.by_account("setCap", 2, 0, 9_000, DAY_S)
    assert world.state.leases[fills[0]].status is not LeaseStatus.OPEN


async def test_rotation_in_the_registry_keeps_what_was_spent(world: World) -> None:
    """The new key has the old one's words, and the old one none."""
    keys = Keys(world)
    await keys.open()
    await keys.register(spend=30_000)
    await keys.use()
    await world.do(await keys.receipt())
    await keys.settle_metered()
    old, keys.agent = keys.agent, SigningKey.generate()
    await keys.by_account("rotateSession", old.address, keys.agent.address)
    assert keys.session().live
    assert int(keys.session().word, 16) == await keys.word()
    assert keys.left() <= 30_000 - PAID
    await keys.use()
    await world.do(await keys.receipt())
    assert (await keys.settle_metered()).paid == PAID


async def test_whom_keys_may_pay_is_not_the_markets_to_know(world: World) -> None:
    """An account that lists its counterparties buys by its own key; lifted, its keys buy again."""
    keys = Keys(world)
    await keys.open()
    await keys.register()
    await keys.by_account("setCounterpartyRule", 2)
    assert "session_terms" in await keys.refused()
    await keys.by_account("setCounterpartyRule", 0)
    await keys.use()


async def test_a_stale_word_would_be_caught(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted bug: what the chain charged is not charged here, and the words differ."""
    monkeypatch.setattr("solver.core.metered.charge", lambda *_: None)
    with pytest.raises(AssertionError):
        await test_a_registry_keys_small_calls_settle_by_its_receipt(world)


async def test_a_deaf_watcher_would_be_caught(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planted bug: revocations in the registry are not told, and a dead key buys on."""
    monkeypatch.setattr("solver.core.chain._revoke_session", lambda *_, **__: None)
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        await test_revocation_in_the_registry_stops_a_key_at_once(world)


async def test_a_keys_fills_settle_within_its_caps(world: World) -> None:
    """A key that signs no receipts: fill by fill, and our words of all it stands under are its."""
    keys = Keys(world)
    await keys.open()
    await keys.register(spend=60_000, permissions=Permission.SIGN, team=7)
    await keys.by_account("setCap", 1, 7, 40_000, DAY_S)
    await keys.by_account("setCap", 2, 0, 30_000, DAY_S)
    fill = await keys.use()
    assert not world.state.leases[fill].metered
    batch = await keys.settle()
    assert (batch.paid, batch.skipped) == (PAID, 0)
    caps = world.state.metering.caps[keys.account]
    assert int(keys.session().word, 16) == await keys.word()
    assert int(caps.teams[7], 16) == await keys.word(1, 7)
    assert int(caps.root, 16) == await keys.word(2, 0)
    assert "session_cap_exceeded" in await _too_much(keys)
    assert (await world.reconcile()).is_clean


async def test_a_keys_terms_are_held_against_its_fills(world: World) -> None:
    """Resource, price and units: what we sell within them the chain pays, and counts."""
    keys = Keys(world)
    await keys.open()
    named = keccak256(RESOURCE.encode())
    grant = (keys.account, keys.agent.address, 0, Permission.SIGN, named, 10**10, 20, 0)
    await keys.by_account("grantSession", (*grant, DAY_S, 2**32 - 1, 0, 0))
    await keys.use()
    assert (await keys.settle()).paid == PAID
    assert int(keys.session().units, 16) == await keys.word(UNITS)
    assert left_at(await keys.word(UNITS), world.clock.now_ms() // 1_000) == 12


# -- the attacks of who was served


async def test_who_lowers_a_cap_after_delivery_is_barred(world: World) -> None:
    """The line is skipped; nothing is served again until the owner grants anew, then half."""
    keys = Keys(world)
    await keys.open(unsettled_max=20_000)
    await world.grant(keys.owner, keys.account, keys.agent, permissions=MAY_SIGN)
    await world.finalize()
    await keys.use()
    await world.by_account(keys.owner, keys.account, "setCap", 2, 0, 1_000, DAY_S)
    batch = await keys.settle()
    assert (batch.paid, batch.skipped, keys.barred) == (0, 1, True)
    assert "account_barred" in await keys.refused()
    await keys.by_account("setCap", 2, 0, 0, 0)
    await world.grant(keys.owner, keys.account, keys.agent, permissions=MAY_SIGN)
    await world.finalize()
    _, fills = await keys.buy()
    result = await world.sequencer.submit(StartCall(lease=fills[0], call="much", units=10 + 1))
    assert not isinstance(result, Applied)
    assert trust_of(world.state, keys.account).refusals == 1
    await world.do(StartCall(lease=fills[0], call="half", units=10))


async def test_a_contract_that_changes_its_mind_is_barred(world: World) -> None:
    """ERC-1271: it accepted the intent, was served, and accepts it no more."""
    keys = Keys(world)
    await keys.open()
    intent, fills = await world.buy(
        keys.owner, account=keys.account, authority=CONTRACT, limit=200_000
    )
    await world.consume(intent, fills, units=8)
    other = SigningKey.generate()
    await keys.by_owner("changeOwner", bytes.fromhex(other.address[2:]))
    batch = await keys.settle()
    assert (batch.skipped, keys.barred) == (1, True)
    keys.owner = other
    await keys.by_account("cancelAll")
    assert not keys.barred


@pytest.mark.parametrize("bug", ["bar", "fill", "rotation"])
async def test_planted_bugs_would_be_caught(
    world: World, monkeypatch: pytest.MonkeyPatch, bug: str
) -> None:
    """Each attack succeeds where the market forgets what is meant to stop it."""
    planted, attack = {
        "bar": ("solver.core.chain._bar", test_who_lowers_a_cap_after_delivery_is_barred),
        "fill": ("solver.core.settling.charge_fill", test_a_keys_fills_settle_within_its_caps),
        "rotation": (
            "solver.core.chain.rotate",
            test_rotation_in_the_registry_keeps_what_was_spent,
        ),
    }[bug]
    monkeypatch.setattr(planted, lambda *_: None)
    with pytest.raises((AssertionError, KeyError, pytest.fail.Exception)):
        await attack(world)
