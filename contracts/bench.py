"""A market on an Anvil of its own whose documents are signed and whose batches are mined.

50 buyers and 10 sellers with fixed keys; what a batch costs is read from its receipt.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec
from tiny_keccak import keccak256

from contracts.anvil import Anvil
from contracts.batch import (
    Entry,
    Line,
    ProvenFill,
    SignedAward,
    SignedIntent,
    SignedMandate,
    SignedOffer,
    offer_order,
    pack,
    settle_call,
)
from contracts.bindings import SETTLEMENT, USDC, FillSettled, FillSkipped, RawLog, decode_log
from contracts.deploy import Deployment, Receipt, send
from contracts.fault import ContractsFault
from intents.award import AwardedFill, award_tree
from intents.bulk import sign_bulk, tree
from intents.document import Award, Intent, Mandate, Offer
from intents.signature import SigningKey
from intents.typed_data import Domain, digest, struct_hash

BUYERS: Final = 50
SELLERS: Final = 10
UNTIL_S: Final = 2**40 - 1
RESOURCE: Final = "tavily/search:call"
KEY_AUTHORITY: Final = 0
CONTRACT_AUTHORITY: Final = 1
AWARDED_TICK: Final = 1_500_000_000
AWARDED_CHARGE: Final = 100_000_000
"""Of what a bench's buyers pay for a unit, in atoms per 10⁶ units, so much is the solver's."""
SESSION_UNTIL_S: Final = 2**32 - 1
"""The last time that a session may name."""
ETHER: Final = 10**18
MINED_POLLS_MAX: Final = 2_000
MINED_POLL_S: Final = 0.002


class UnlockedChain:
    """The chain port on Anvil's own accounts: it signs for whomever it is told to."""

    def __init__(self, anvil: Anvil) -> None:
        self._anvil = anvil

    async def chain_id(self) -> int:
        """The node's chain id."""
        return int(self._anvil.rpc("eth_chainId"), 16)

    async def nonce(self, address: str) -> int:
        """Transactions that the address has sent."""
        return int(self._anvil.rpc("eth_getTransactionCount", address, "latest"), 16)

    async def code(self, address: str) -> bytes:
        """The code at an address."""
        return bytes.fromhex(self._anvil.rpc("eth_getCode", address, "latest")[2:])

    async def balance(self, address: str) -> int:
        """Wei that an address holds."""
        return int(self._anvil.rpc("eth_getBalance", address, "latest"), 16)

    async def call(self, to: str, data: bytes) -> bytes:
        """What a call returns."""
        answer = self._anvil.rpc("eth_call", {"to": to, "data": "0x" + data.hex()}, "latest")
        return bytes.fromhex(answer[2:])

    async def transact(
        self,
        sender: str,
        to: str | None,
        data: bytes,
        value_wei: int = 0,
        gas_limit: int | None = None,
    ) -> Receipt:
        """Send and mine a transaction, with as much gas as the node thinks or as is said."""
        call = {"from": sender, "data": "0x" + data.hex(), "value": hex(value_wei)}
        call |= {"to": to} if to else {}
        call |= {"gas": hex(gas_limit)} if gas_limit is not None else {}
        hashed = self._anvil.rpc("eth_sendTransaction", call)
        receipt = await self._mined(hashed)
        return Receipt(
            transaction_hash=hashed,
            succeeded=receipt["status"] == "0x1",
            block_number=int(receipt["blockNumber"], 16),
            block_hash=receipt["blockHash"],
            gas_used=int(receipt["gasUsed"], 16),
            contract_address=receipt["contractAddress"],
        )

    def receipt(self, hashed: str) -> Any:  # noqa: ANN401  whatever JSON says
        """The receipt as the node gives it."""
        return self._anvil.rpc("eth_getTransactionReceipt", hashed)

    async def _mined(self, hashed: str) -> Any:  # noqa: ANN401  whatever JSON says
        """Anvil answers before it has mined."""
        for _ in range(MINED_POLLS_MAX):
            receipt = self.receipt(hashed)
            if receipt is not None:
                return receipt
            await asyncio.sleep(MINED_POLL_S)
        raise ContractsFault(f"{hashed} was not mined")

    def unlock(self, address: str) -> None:
        """Send for this address from now on, and let it pay for gas."""
        self._anvil.rpc("anvil_impersonateAccount", address)
        self._anvil.rpc("anvil_setBalance", address, hex(1_000 * ETHER))


async def fund(
    chain: UnlockedChain, deployment: Deployment, accounts: Sequence[str], atoms: int
) -> None:
    """So many atoms for each account in the ledger, from the token's minter, who deployed all."""
    minter = deployment.operator_owner
    total = atoms * len(accounts)
    await send(chain, minter, deployment.usdc, USDC.function("mint").encode(minter, total))
    approve = USDC.function("approve").encode(deployment.settlement, total)
    await send(chain, minter, deployment.usdc, approve)
    for account in accounts:
        data = SETTLEMENT.function("deposit").encode(account, atoms)
        await send(chain, minter, deployment.settlement, data)


def key_of(label: str) -> SigningKey:
    """A fixed key per label."""
    return SigningKey(keccak256(f"keyfill gas {label}".encode()))


class Bench:
    """A deployed market whose documents are signed and whose batches are mined."""

    def __init__(self, chain: UnlockedChain, deployment: Deployment, sender: str) -> None:
        self._chain = chain
        self._domain = Domain(
            chain_id=deployment.chain_id, verifying_contract=deployment.settlement
        )
        self._prefix = self._domain.prefix()
        self.deployment: Final = deployment
        self._sender = sender
        self._number = 0
        self.buyers: Final = [key_of(f"buyer {place}") for place in range(BUYERS)]
        self.sellers: Final = sorted(
            (key_of(f"seller {place}") for place in range(SELLERS)), key=lambda key: key.address
        )

    def offers(self, nonce: int) -> list[SignedOffer]:
        """One offer of each seller, in the contract's order."""
        signed = [
            self._offer(
                Offer(
                    account=key.address,
                    resource=RESOURCE,
                    asset=self.deployment.usdc,
                    key="0x" + keccak256(key.address.encode()).hex(),
                    units=100_000,
                    limit=100_000_000,
                    window_units=100,
                    window_seconds=60,
                    valid_until=UNTIL_S,
                    nonce=nonce,
                ),
                key,
            )
            for key in self.sellers
        ]
        return sorted(signed, key=lambda entry: offer_order(entry.offer))

    def intents(
        self,
        nonce: int,
        *,
        authority: int = KEY_AUTHORITY,
        signer_of: Callable[[SigningKey], SigningKey] = lambda key: key,
        is_whole: bool = False,
    ) -> list[SignedIntent]:
        """One intent of each buyer, with one line: of half its units, or fill-or-kill of all."""
        units, payment = (1_000, 1_440_000) if is_whole else (500, 720_000)
        return [
            self.intent(
                nonce,
                account=buyer.address,
                signer=signer_of(buyer),
                authority=authority,
                lines=(self.line(place, offer=place % SELLERS, units=units, payment=payment),),
                units_min=units if is_whole else 1,
            )
            for place, buyer in enumerate(self.buyers)
        ]

    def wide_intents(self, nonce: int, buyers: int, lines: int) -> list[SignedIntent]:
        """One intent of each of so many buyers, each with so many lines, one an offer."""
        return [
            self.intent(
                nonce,
                account=buyer.address,
                signer=buyer,
                lines=tuple(
                    self.line(lines * place + offer, offer=offer, units=50, payment=72_000)
                    for offer in range(lines)
                ),
            )
            for place, buyer in enumerate(self.buyers[:buyers])
        ]

    def intent(
        self,
        nonce: int,
        *,
        account: str,
        signer: SigningKey,
        lines: tuple[Line, ...],
        authority: int = KEY_AUTHORITY,
        units_min: int = 1,
    ) -> SignedIntent:
        """A signed intent with these lines."""
        intent = self._intent(nonce, account, units_min)
        signature = signer.sign(digest(self._prefix, intent))
        return SignedIntent(intent=intent, authority=authority, signature=signature, lines=lines)

    def _intent(self, nonce: int, account: str, units_min: int = 1) -> Intent:
        return Intent(
            account=account,
            resource=RESOURCE,
            asset=self.deployment.usdc,
            units=1_000,
            units_min=units_min,
            limit=2_000_000,
            valid_until=UNTIL_S,
            nonce=nonce,
        )

    def bulk(self, nonce: int, count: int, signer: SigningKey) -> list[SignedIntent]:
        """So many intents from a nonce on, signed once, each with one line."""
        intents = [self._intent(nonce + place, signer.address) for place in range(count)]
        signature = sign_bulk(signer, self._domain, intents)
        proofs = tree([struct_hash(intent) for intent in intents]).proofs()
        return [
            SignedIntent(
                intent=intent,
                authority=KEY_AUTHORITY,
                signature=signature,
                proof=proof,
                lines=(self.line(place, offer=place % SELLERS),),
            )
            for place, (intent, proof) in enumerate(zip(intents, proofs, strict=True))
        ]

    def mandate(self, nonce: int, count: int, signer: SigningKey) -> SignedMandate:
        """A mandate with so many lines."""
        mandate = Mandate(
            account=signer.address,
            resource=RESOURCE,
            asset=self.deployment.usdc,
            tick_max=2_000_000_000,
            limit=1_000_000_000,
            valid_until=UNTIL_S,
            nonce=nonce,
        )
        return SignedMandate(
            mandate=mandate,
            authority=KEY_AUTHORITY,
            signature=signer.sign(digest(self._prefix, mandate)),
            lines=tuple(self.line(place, offer=place % SELLERS) for place in range(count)),
        )

    def line(self, place: int, *, offer: int, units: int = 500, payment: int = 720_000) -> Line:
        """A fill of which a little was not delivered."""
        fill = keccak256(f"fill {self._number} {place}".encode())
        return Line(
            offer=offer,
            units=units,
            delivered=units * 24 // 25 or 1,
            payment=payment,
            fill="0x" + fill.hex(),
        )

    def awarded(
        self, nonce: int, solver: str, owner: SigningKey
    ) -> tuple[list[SignedIntent], SignedAward]:
        """The same intents, each one's line awarded to a solver, by whom owns the operator."""
        offers, intents = self.offers(1), self.intents(nonce)
        fills = [
            AwardedFill(
                buyer=signed.intent.account,
                buyer_nonce=nonce,
                seller=offers[line.offer].offer.account,
                seller_nonce=offers[line.offer].offer.nonce,
                units=line.units,
                tick=AWARDED_TICK,
                charge=AWARDED_CHARGE,
            )
            for signed in intents
            for line in signed.lines
        ]
        tree = award_tree(fills)
        award = Award(auction=1, solver=solver, solution=tree.root, deadline_block=UNTIL_S)
        proven = [
            ProvenFill(offer=signed.lines[0].offer, fill=fill, proof=tree.proof(place))
            for place, (signed, fill) in enumerate(zip(intents, fills, strict=True))
        ]
        lines = [
            msgspec.structs.replace(signed.lines[0], offer=len(offers) + place)
            for place, signed in enumerate(intents)
        ]
        entries = [
            msgspec.structs.replace(signed, lines=(line,))
            for signed, line in zip(intents, lines, strict=True)
        ]
        return entries, SignedAward(
            award=award,
            authority=CONTRACT_AUTHORITY,
            signature=owner.sign(digest(self._prefix, award)),
            fills=tuple(proven),
        )

    async def settle(
        self,
        offers: Sequence[SignedOffer],
        entries: Sequence[Entry],
        *,
        settled: int,
        direct: bool = False,
        awards: Sequence[SignedAward] = (),
    ) -> Receipt:
        """One mined batch in which exactly `settled` lines were paid."""
        hashed = "0x" + keccak256(f"batch {self._number}".encode()).hex()
        packed = pack(offers, entries, awards)
        data = settle_call(self._number, hashed, packed)
        to = self.deployment.operator_account
        if direct:
            data = SETTLEMENT.function("settle").encode(
                self._number, bytes.fromhex(hashed[2:]), packed
            )
            to = self.deployment.settlement
        self._number += 1
        receipt = await send(self._chain, self._sender, to, data)
        paid, skipped = self._outcomes(receipt)
        lines = sum(len(entry.lines) for entry in entries)
        if (paid, skipped) != (settled, lines - settled):
            raise ContractsFault(f"{paid} lines paid, {skipped} skipped; expected {settled} paid")
        return receipt

    def _offer(self, offer: Offer, key: SigningKey) -> SignedOffer:
        signature = key.sign(digest(self._prefix, offer))
        return SignedOffer(offer=offer, authority=KEY_AUTHORITY, signature=signature)

    def _outcomes(self, receipt: Receipt) -> tuple[int, int]:
        logs = [
            decode_log(
                RawLog(
                    address=log["address"],
                    topics=tuple(bytes.fromhex(topic[2:]) for topic in log["topics"]),
                    data=bytes.fromhex(log["data"][2:]),
                    block_number=receipt.block_number,
                    block_hash=receipt.block_hash,
                    log_index=int(log["logIndex"], 16),
                    transaction_hash=receipt.transaction_hash,
                )
            )
            for log in self._chain.receipt(receipt.transaction_hash)["logs"]
        ]
        settled = sum(isinstance(log, FillSettled) for log in logs)
        return settled, sum(isinstance(log, FillSkipped) for log in logs)
