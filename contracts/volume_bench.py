"""100,000 fills in a few mined transactions, each paid by what its buyer signed, counted twice.

Every fill is one call under its buyer's mandate, and a leaf of its batch. A buyer's session key
signs one cumulative receipt a batch, and the batches go through the operator's account. `Books`
is told of each fill by itself and knows nothing of receipts, netting or the chain; at the end the
chain has to say the same of every account. Leaves of each batch are proven to the bond, which
says that they keep what was signed; with one atom more they are no leaves.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec
from tiny_keccak import keccak256

from contracts.anvil import Anvil
from contracts.bench import RESOURCE, SESSION_UNTIL_S, UNTIL_S, UnlockedChain, fund, key_of
from contracts.bindings import BOND, SETTLEMENT, USDC
from contracts.deploy import Deployment, Plan, Receipt, SessionPlan, deploy, deploy_bond
from contracts.deploy import grant_session as grant_operator
from contracts.fault import AnvilFailed, ContractsFault
from contracts.metered import AUTHORITY_SESSION
from contracts.metered_bench import MeteredBench
from intents.document import Mandate, Offer
from intents.leaf import Leaf, Tree, tree
from intents.signature import SigningKey
from intents.typed_data import Domain, digest

SELLERS_PER_BUYER: Final = 5
PRICE_MIN: Final = 900
PRICE_MAX: Final = 2_100
"""Atoms of one call: a tenth to a fifth of a cent."""
TICK: Final = 1_000_000
FUNDS: Final = 1_000_000_000
PROVEN_PER_BATCH: Final = 8


class Volume(msgspec.Struct, frozen=True, kw_only=True):
    """How much is sold: in each batch every buyer makes so many calls."""

    buyers: int
    sellers: int
    batches: int
    calls: int

    @property
    def fills(self) -> int:
        """All that is sold."""
        return self.buyers * self.batches * self.calls


HUNDRED_THOUSAND: Final = Volume(buyers=250, sellers=50, batches=4, calls=100)


class Settled(msgspec.Struct, frozen=True, kw_only=True):
    """What it took."""

    fills: int
    transactions: int
    gas: int
    proven: int


class Fill(msgspec.Struct, frozen=True, kw_only=True):
    """One call: who bought it of whom, at how many atoms."""

    number: int
    buyer: str
    seller: str
    payment: int


class Books:
    """What every account must have, told fill by fill."""

    def __init__(self) -> None:
        self.spent: Final[Counter[str]] = Counter()
        self.earned: Final[Counter[str]] = Counter()

    def tell(self, fill: Fill) -> None:
        """A fill was sold."""
        self.spent[fill.buyer] += fill.payment
        self.earned[fill.seller] += fill.payment

    def balance(self, account: str) -> int:
        """Of an account that began with FUNDS."""
        return FUNDS - self.spent[account] + self.earned[account]


class VolumeBench:
    """A market on its own chain that sells a volume and settles it."""

    def __init__(
        self, anvil: Anvil, bench: MeteredBench, keys: dict[str, SigningKey], bond: str
    ) -> None:
        self._chain = UnlockedChain(anvil)
        self._bench = bench
        self._keys = keys
        self._bond = bond
        self._deployment = bench.deployment
        prefix = Domain(
            chain_id=bench.deployment.chain_id, verifying_contract=bench.deployment.settlement
        ).prefix()
        accounts = [key.address for key in bench.buyers]
        self._mandates = {account: self._mandate(account) for account in accounts}
        self._intents = {
            account: _hex(digest(prefix, mandate)) for account, mandate in self._mandates.items()
        }
        self._offers = {
            seller: _hex(digest(prefix, self._offer(seller))) for seller in bench.sellers
        }
        self._resource = _hex(keccak256(RESOURCE.encode()))
        self.books: Final = Books()

    @classmethod
    async def open(cls, anvil: Anvil, volume: Volume) -> "VolumeBench":
        """Deploy a market whose parties have money, and keys that may sign receipts."""
        chain = UnlockedChain(anvil)
        deployer = anvil.rpc("eth_accounts")[0]
        session = key_of("volume session").address
        chain.unlock(session)
        deployment = await _deployed(chain, deployer, session)
        bench = MeteredBench(
            anvil, deployment, session, buyers=volume.buyers, sellers=volume.sellers
        )
        await bench.open_book()
        await fund(chain, deployment, bench.accounts, FUNDS)
        bond = await deploy_bond(chain, deployer, deployment.settlement)
        return cls(anvil, bench, await bench.grant_keys(), bond)

    async def settle(self, volume: Volume) -> Settled:
        """Sell and settle it. Raises ContractsFault where the chain and the books differ."""
        gas = proven = 0
        for batch in range(volume.batches):
            fills = list(self._sell(volume, batch))
            leaves = [self._leaf(fill) for fill in fills]
            committed = tree([leaf.digest() for leaf in leaves])
            receipt = await self._settle(fills, committed.root)
            gas += receipt.gas_used
            proven += await self._prove(batch, leaves, committed)
        await self.audit()
        return Settled(fills=volume.fills, transactions=volume.batches, gas=gas, proven=proven)

    async def audit(self) -> None:
        """Every balance and every sum spent is the books', and together they are what is held."""
        held = 0
        for account in self._bench.accounts:
            (view,) = await self._read("accountOf", account)
            (meter,) = await self._read("meterOf", account)
            told = (view[0], meter[0])
            expected = (self.books.balance(account), self.books.spent[account])
            if told != expected:
                raise ContractsFault(f"{account}: the chain says {told}, the books {expected}")
            held += view[0]
        balance = USDC.function("balanceOf")
        data = balance.encode(self._deployment.settlement)
        (total,) = balance.decode_outputs(await self._chain.call(self._deployment.usdc, data))
        if total != held:
            raise ContractsFault(f"{total} atoms are held, all balances are {held}")

    # ------------------------------------------------------------ private

    def _sell(self, volume: Volume, batch: int) -> Iterator[Fill]:
        """Calls of each buyer, at changing prices, of a few sellers that change with the batch."""
        sellers = self._bench.sellers
        for place in range(volume.buyers * volume.calls):
            buyer, call = divmod(place, volume.calls)
            number = batch * volume.buyers * volume.calls + place
            seller = (buyer + batch + 7 * (call % SELLERS_PER_BUYER)) % len(sellers)
            fill = Fill(
                number=number,
                buyer=self._bench.buyers[buyer].address,
                seller=sellers[seller],
                payment=PRICE_MIN + number * 7_919 % (PRICE_MAX - PRICE_MIN + 1),
            )
            self.books.tell(fill)
            yield fill

    async def _settle(self, fills: Sequence[Fill], root: str) -> Receipt:
        owed: dict[str, Counter[str]] = {}
        for fill in fills:
            owed.setdefault(fill.buyer, Counter())[fill.seller] += fill.payment
        records = [
            self._bench.signed(buyer, owed[buyer.address], self._keys, AUTHORITY_SESSION)
            for buyer in self._bench.buyers
        ]
        return await self._bench.settle(records, root=root)

    async def _prove(self, batch: int, leaves: Sequence[Leaf], committed: Tree) -> int:
        step = max(1, len(leaves) // PROVEN_PER_BATCH)
        places = range(0, len(leaves), step)
        for place in places:
            leaf, proof = leaves[place], committed.proof(place)
            await self._expect("BreachNone", batch, leaf, proof, committed.root)
            dearer = msgspec.structs.replace(leaf, payment=leaf.payment + 1)
            await self._expect("BreachLeafUnknown", batch, dearer, proof, committed.root)
        return len(places)

    async def _expect(
        self, error: str, batch: int, leaf: Leaf, proof: tuple[bytes, ...], root: str
    ) -> None:
        """What the bond answers to whoever claims that the fill broke its mandate."""
        mandate = self._mandates[leaf.buyer]
        data = BOND.function("proveMandateBreach").encode(
            _leaf_values(leaf),
            (batch, bytes.fromhex(root[2:]), proof),
            _mandate_values(mandate, self._resource),
        )
        try:
            await self._chain.call(self._bond, data)
        except AnvilFailed as refused:
            if refused.revert[:4] == _selector(error):
                return
            raise
        raise ContractsFault(f"fill {leaf.fill} of batch {batch} breaks its mandate")

    def _leaf(self, fill: Fill) -> Leaf:
        return Leaf(
            fill=_hex(keccak256(f"volume {fill.number}".encode())),
            intent=self._intents[fill.buyer],
            offer=self._offers[fill.seller],
            buyer=fill.buyer,
            seller=fill.seller,
            resource=self._resource,
            units=1,
            delivered=1,
            payment=fill.payment,
        )

    def _mandate(self, account: str) -> Mandate:
        return Mandate(
            account=account,
            resource=RESOURCE,
            asset=self._deployment.usdc,
            tick_max=PRICE_MAX * TICK,
            limit=FUNDS,
            valid_until=UNTIL_S,
            nonce=1,
        )

    def _offer(self, account: str) -> Offer:
        return Offer(
            account=account,
            resource=RESOURCE,
            asset=self._deployment.usdc,
            key=_hex(keccak256(account.encode())),
            units=10**6,
            limit=PRICE_MIN * 10**6,
            valid_until=UNTIL_S,
            nonce=1,
        )

    async def _read(self, name: str, account: str) -> tuple[Any, ...]:
        function = SETTLEMENT.function(name)
        answer = await self._chain.call(self._deployment.settlement, function.encode(account))
        return tuple(function.decode_outputs(answer))


async def _deployed(chain: UnlockedChain, deployer: str, session: str) -> Deployment:
    plan = Plan(chain_id=await chain.chain_id(), deployer=deployer, owner=deployer)
    deployment = await deploy(chain, plan)
    await grant_operator(chain, deployment, SessionPlan(key=session, expires_at=SESSION_UNTIL_S))
    return deployment


def _leaf_values(leaf: Leaf) -> tuple[object, ...]:
    """As the ABI has them."""
    hashes = (leaf.fill, leaf.intent, leaf.offer)
    return (
        *(bytes.fromhex(value[2:]) for value in hashes),
        leaf.buyer,
        leaf.seller,
        bytes.fromhex(leaf.resource[2:]),
        leaf.units,
        leaf.delivered,
        leaf.payment,
        leaf.auction,
        leaf.solver,
        leaf.reward,
    )


def _mandate_values(mandate: Mandate, resource: str) -> tuple[object, ...]:
    """As the ABI has them, with the resource's hash for its name."""
    return (
        mandate.account,
        bytes.fromhex(resource[2:]),
        mandate.tick_max,
        mandate.limit,
        mandate.valid_from,
        mandate.valid_until,
        mandate.epoch,
        mandate.nonce,
    )


def _selector(error: str) -> bytes:
    (found,) = (item.selector for item in BOND.abi if (item.type, item.name) == ("error", error))
    return found


def _hex(raw: bytes) -> str:
    return "0x" + raw.hex()
