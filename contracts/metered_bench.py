"""Metered batches of a fixed market, mined: 80 buyers and 20 sellers, 100 fills a buyer, or more.

What runs on is measured: every account has traded, and the batch's number uses the place of an
earlier one. So no batch makes a storage slot, which `new_slots` counts from the node's own
state diff.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from tiny_keccak import keccak256

from contracts.anvil import Anvil
from contracts.bench import RESOURCE, UnlockedChain, key_of
from contracts.bindings import SETTLEMENT, MeteredSettled, RawLog, decode_log
from contracts.deploy import Deployment, Receipt, send
from contracts.fault import ContractsFault
from contracts.metered import (
    AUTHORITY_PLAIN,
    ROOTS,
    Books,
    PaidBuyer,
    Record,
    book_code,
    books,
    netted,
    pack,
    paid_buyers,
    settle_metered_call,
)
from intents.document import SpendReceipt
from intents.leaf import Leaf, tree
from intents.receipt import in_order, lines_hash
from intents.signature import SigningKey
from intents.typed_data import Domain, digest

METERED_BUYERS: Final = 80
METERED_SELLERS: Final = 20
LINES_PER_BUYER: Final = 5
FILLS_PER_BUYER: Final = 100
MAY_SIGN_RECEIPTS: Final = 16
UNTIL_KEY_S: Final = 2**32 - 1
KEY_PERIOD_S: Final = 86_400
PERIOD_PARTS: Final = 8
"""A cap's window moves on by such a part of its period."""
_FILL_ATOMS: Final = 1_500
ANY_RESOURCE: Final = keccak256(b"")


class MeteredBench:
    """A deployed market with an address book, whose metered batches are mined."""

    def __init__(
        self,
        anvil: Anvil,
        deployment: Deployment,
        sender: str,
        *,
        buyers: int = METERED_BUYERS,
        sellers: int = METERED_SELLERS,
    ) -> None:
        self._anvil = anvil
        self._chain = UnlockedChain(anvil)
        self._domain = Domain(
            chain_id=deployment.chain_id, verifying_contract=deployment.settlement
        )
        self.deployment: Final = deployment
        self._sender = sender
        self._number = 0
        self._spent: dict[str, int] = {}
        self._books = Books(addresses=(), places={})
        self.buyers: Final = [key_of(f"metered buyer {place}") for place in range(buyers)]
        self.sellers: Final = sorted(
            key_of(f"metered seller {place}").address for place in range(sellers)
        )

    @property
    def accounts(self) -> list[str]:
        """All who take part."""
        return sorted([key.address for key in self.buyers] + self.sellers)

    async def open_book(self) -> None:
        """Deploy the one address book."""
        receipt = await send(self._chain, self._sender, None, book_code(self.accounts))
        assert receipt.contract_address is not None
        self._books = books({receipt.contract_address.lower(): self.accounts})

    async def grant_keys(self) -> dict[str, SigningKey]:
        """A session key of each buyer that may sign receipts, within a rolling cap."""
        keys = {}
        grant = SETTLEMENT.function("grantSession")
        for buyer in self.buyers:
            key = key_of(f"receipt key of {buyer.address}")
            terms = (buyer.address, key.address, 0, MAY_SIGN_RECEIPTS, ANY_RESOURCE, 0, 0)
            caps = (10**12, KEY_PERIOD_S, UNTIL_KEY_S, 0, 0)
            self._chain.unlock(buyer.address)
            data = grant.encode(terms + caps)
            await send(self._chain, buyer.address, self.deployment.settlement, data)
            keys[buyer.address] = key
        return keys

    def next_round(self) -> None:
        """Go on to a number whose place is in use, when that place's root cannot be disputed.

        By then a part of every cap's window has ended: a charge costs the most.
        """
        self._number += ROOTS - self._number % ROOTS
        passed_s = max(self.deployment.exit_delay_s + 1, KEY_PERIOD_S // PERIOD_PARTS)
        self._anvil.rpc("evm_increaseTime", hex(passed_s))
        self._anvil.rpc("evm_mine")

    def amounts(self, place: int) -> dict[str, int]:
        """What a buyer's 100 fills came to, for each of its five sellers."""
        fills = FILLS_PER_BUYER // LINES_PER_BUYER
        return {
            self.sellers[(place + 4 * line) % METERED_SELLERS]: fills * (_FILL_ATOMS + line)
            for line in range(LINES_PER_BUYER)
        }

    def receipts(
        self, signer_of: dict[str, SigningKey] | None = None, authority: int = AUTHORITY_PLAIN
    ) -> list[Record]:
        """A receipt of each buyer over what it owes."""
        return [
            self.signed(buyer, self.amounts(place), signer_of or {}, authority)
            for place, buyer in enumerate(self.buyers)
        ]

    def attested(self, atoms: int) -> Sequence[Record]:
        """The same parties, so many atoms a buyer, on the operator's word."""
        debits = {key.address: atoms for key in self.buyers}
        part = atoms * METERED_BUYERS // METERED_SELLERS
        return netted(debits, dict.fromkeys(self.sellers, part))

    def root(self, fills: int) -> str:
        """The root of so many fills."""
        intent, offer = keccak256(b"intent"), keccak256(b"offer")
        leaves = [
            Leaf(
                fill="0x" + keccak256(f"metered {self._number} {place}".encode()).hex(),
                intent="0x" + intent.hex(),
                offer="0x" + offer.hex(),
                buyer=self.buyers[place % METERED_BUYERS].address,
                seller=self.sellers[place % METERED_SELLERS],
                resource="0x" + keccak256(RESOURCE.encode()).hex(),
                units=1,
                delivered=1,
                payment=_FILL_ATOMS,
            ).digest()
            for place in range(fills)
        ]
        return tree(leaves).root

    async def settle(self, records: Sequence[Record], *, root: str) -> Receipt:
        """A mined batch in which every record was settled."""
        data = settle_metered_call(self._number, root, pack(self._books, records))
        receipt = await send(self._chain, self._sender, self.deployment.operator_account, data)
        self._number += 1
        settled = self._told(receipt)
        if len(settled) != len(records):
            raise ContractsFault(f"{len(settled)} of {len(records)} records settled")
        self._spent |= {buyer.account: buyer.spent for buyer in settled}
        return receipt

    def new_slots(self, receipt: Receipt) -> int:
        """Storage slots that the transaction wrote and that were zero before it."""
        diff = self._anvil.rpc(
            "debug_traceTransaction",
            receipt.transaction_hash,
            {"tracer": "prestateTracer", "tracerConfig": {"diffMode": True}},
        )
        return sum(
            int(diff["pre"].get(account, {}).get("storage", {}).get(slot, "0x0"), 16) == 0
            for account, after in diff["post"].items()
            for slot in after.get("storage", {})
        )

    def signed(
        self,
        buyer: SigningKey,
        amounts: Mapping[str, int],
        signer_of: Mapping[str, SigningKey],
        authority: int,
    ) -> Record:
        """A buyer's receipt over these sums, from where the ledger is."""
        lines = in_order(amounts)
        base = self._spent.get(buyer.address, 0)
        receipt = SpendReceipt(
            account=buyer.address,
            base=base,
            spent=base + sum(amounts.values()),
            lines=lines_hash(lines),
        )
        signer = signer_of.get(buyer.address, buyer)
        return Record(
            account=buyer.address,
            lines=lines,
            authority=authority,
            signature=signer.sign(digest(self._domain.prefix(), receipt)),
        )

    def _told(self, receipt: Receipt) -> tuple[PaidBuyer, ...]:
        logs: list[Any] = self._chain.receipt(receipt.transaction_hash)["logs"]
        topic = SETTLEMENT.event("MeteredSettled").topic.hex()
        (found,) = (log for log in logs if log["topics"][0] == "0x" + topic)
        log = decode_log(
            RawLog(
                address=found["address"],
                topics=tuple(bytes.fromhex(topic[2:]) for topic in found["topics"]),
                data=bytes.fromhex(found["data"][2:]),
                block_number=receipt.block_number,
                block_hash=receipt.block_hash,
                log_index=int(found["logIndex"], 16),
                transaction_hash=receipt.transaction_hash,
            )
        )
        assert isinstance(log, MeteredSettled)
        return paid_buyers(bytes.fromhex(log.buyers[2:]))
