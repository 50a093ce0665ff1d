"""Gas per fill from receipts of mined transactions, as JSON lines: `python -m contracts.gas`.

A fresh Anvil; 50 buyers and 10 sellers whose balances exist; every batch goes through the
operator's account, sent by its session key, and carries 50 fills. All keys, addresses and
times are fixed, so that the figures are too. The peers are constants, measured elsewhere on
the same machine by running each protocol's own contracts: CoW Protocol's GPv2Settlement
with 50 trades in a batch, and UniswapX's V2DutchOrderReactor (which fills one order at a
time). Both pay per trade; a lower ratio is better for us.

`--check` compares with `gas.json` and fails where a figure rose by more than 2 %;
`--write` replaces that file.
"""

import argparse
import asyncio
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
from tiny_keccak import keccak256

from contracts.anvil import Anvil, Options
from contracts.batch import Line, SignedIntent, SignedOffer, offer_order, pack, settle_call
from contracts.bindings import (
    ACCOUNT,
    SETTLEMENT,
    USDC,
    FillSettled,
    FillSkipped,
    RawLog,
    decode_log,
)
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
from contracts.fault import ContractsFault
from intents.document import Intent, Offer
from intents.signature import SigningKey
from intents.typed_data import Domain, digest

BUYERS: Final = 50
SELLERS: Final = 10
CHAIN_ID: Final = 31_337
COW_GPV2_GAS: Final = 58_610
UNISWAPX_GAS: Final = 71_139
TARGET_GAS: Final = 45_000
RISE_PERCENT_MAX: Final = 2
UNTIL_S: Final = 2**40 - 1
SNAPSHOT: Final = Path(__file__).with_name("gas.json")
RESOURCE: Final = "tavily/search:call"
KEY_AUTHORITY: Final = 0
SESSION_AUTHORITY: Final = 2
MAY_SIGN: Final = 2
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
        self, sender: str, to: str | None, data: bytes, value_wei: int = 0
    ) -> Receipt:
        """Send and mine a transaction."""
        call = {"from": sender, "data": "0x" + data.hex(), "value": hex(value_wei)}
        hashed = self._anvil.rpc("eth_sendTransaction", call | ({"to": to} if to else {}))
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


class Figure(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One printed line. `ratio` is value / peer_value."""

    name: str
    value: int
    unit: str
    peer: str = ""
    peer_value: int = 0
    ratio: float = 0.0
    target: int = 0


def key_of(label: str) -> SigningKey:
    """A fixed key per label."""
    return SigningKey(keccak256(f"keyfill gas {label}".encode()))


class Bench:
    """A deployed market whose documents are signed and whose batches are mined."""

    def __init__(self, chain: UnlockedChain, deployment: Deployment, sender: str) -> None:
        self._chain = chain
        self._prefix = Domain(
            chain_id=deployment.chain_id, verifying_contract=deployment.settlement
        ).prefix()
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
        account_of: Callable[[SigningKey], str] = lambda key: key.address,
        signer_of: Callable[[SigningKey], SigningKey] = lambda key: key,
    ) -> list[SignedIntent]:
        """One intent of each buyer, with one line."""
        return [
            self.intent(
                nonce,
                account=account_of(buyer),
                signer=signer_of(buyer),
                authority=authority,
                lines=(self.line(place, offer=place % SELLERS),),
            )
            for place, buyer in enumerate(self.buyers)
        ]

    def intent(
        self,
        nonce: int,
        *,
        account: str,
        signer: SigningKey,
        lines: tuple[Line, ...],
        authority: int = KEY_AUTHORITY,
    ) -> SignedIntent:
        """A signed intent with these lines."""
        intent = Intent(
            account=account,
            resource=RESOURCE,
            asset=self.deployment.usdc,
            units=1_000,
            limit=2_000_000,
            valid_until=UNTIL_S,
            nonce=nonce,
        )
        signature = signer.sign(digest(self._prefix, intent))
        return SignedIntent(intent=intent, authority=authority, signature=signature, lines=lines)

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

    async def settle(
        self,
        offers: Sequence[SignedOffer],
        intents: Sequence[SignedIntent],
        *,
        settled: int,
        direct: bool = False,
    ) -> int:
        """Gas of one mined batch in which exactly `settled` lines were paid."""
        hashed = "0x" + keccak256(f"batch {self._number}".encode()).hex()
        packed = pack(offers, intents)
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
        lines = sum(len(entry.lines) for entry in intents)
        if (paid, skipped) != (settled, lines - settled):
            raise ContractsFault(f"{paid} lines paid, {skipped} skipped; expected {settled} paid")
        return receipt.gas_used

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


async def measure(anvil: Anvil) -> list[Figure]:
    """All figures, from one chain."""
    chain = UnlockedChain(anvil)
    deployer = anvil.rpc("eth_accounts")[0]
    session = key_of("session").address
    chain.unlock(session)
    deployment = await deploy(chain, Plan(chain_id=CHAIN_ID, deployer=deployer, owner=deployer))
    await grant_session(chain, deployment, SessionPlan(key=session, expires_at=UNTIL_S))
    bench = Bench(chain, deployment, session)
    await _fund(chain, deployment, deployer, [key.address for key in bench.buyers + bench.sellers])
    await _warm_up(chain, bench, deployer)

    standing = bench.offers(1)
    fresh = await bench.settle(standing, bench.intents(4), settled=BUYERS)
    new_offers = await bench.settle(bench.offers(8), bench.intents(8), settled=BUYERS)
    warm = await bench.settle(standing, bench.intents(5), settled=BUYERS)
    accounts = await _session_accounts(chain, bench, deployer)
    by_session = await bench.settle(
        standing,
        bench.intents(
            12,
            authority=SESSION_AUTHORITY,
            account_of=lambda key: accounts[key.address],
            signer_of=_session_key,
        ),
        settled=BUYERS,
    )
    stranger = key_of("stranger")
    bad = await bench.settle(standing, bench.intents(16, signer_of=lambda _: stranger), settled=0)
    through, direct = await _account_overhead(chain, bench, deployer)
    return [
        _against_peers("verified_gas_per_fill_50", fresh, "CoW Protocol GPv2", COW_GPV2_GAS),
        _against_peers("verified_gas_per_fill_50", fresh, "UniswapX V2Dutch", UNISWAPX_GAS),
        _against_peers(
            "verified_gas_per_fill_50_new_offers", new_offers, "CoW Protocol GPv2", COW_GPV2_GAS
        ),
        Figure(name="verified_gas_per_fill_50_warm_slots", value=warm // BUYERS, unit="gas"),
        Figure(
            name="verified_gas_per_fill_50_session_buyers", value=by_session // BUYERS, unit="gas"
        ),
        Figure(name="skipped_gas_per_bad_fill_50", value=bad // BUYERS, unit="gas"),
        Figure(name="account_overhead_gas_per_batch_50", value=through - direct, unit="gas"),
    ]


async def _fund(
    chain: UnlockedChain, deployment: Deployment, deployer: str, accounts: Sequence[str]
) -> None:
    total = 1_000_000_000 * len(accounts)
    mint = USDC.function("mint").encode(deployer, total)
    approve = USDC.function("approve").encode(deployment.settlement, total)
    await send(chain, deployer, deployment.usdc, mint)
    await send(chain, deployer, deployment.usdc, approve)
    for account in accounts:
        data = SETTLEMENT.function("deposit").encode(account, 1_000_000_000)
        await send(chain, deployer, deployment.settlement, data)


async def _warm_up(chain: UnlockedChain, bench: Bench, deployer: str) -> None:
    """A market that runs: the standing offers, the batch word and the session were used."""
    first = key_of("first buyer")
    await _fund(chain, bench.deployment, deployer, [first.address])
    lines = tuple(
        bench.line(place, offer=place, units=1, payment=1_500) for place in range(SELLERS)
    )
    intent = bench.intent(0, account=first.address, signer=first, lines=lines)
    await bench.settle(bench.offers(1), [intent], settled=SELLERS)


def _session_key(owner: SigningKey) -> SigningKey:
    return key_of(f"session of {owner.address}")


async def _session_accounts(chain: UnlockedChain, bench: Bench, deployer: str) -> dict[str, str]:
    """A funded session account of each buyer, with a key that may sign."""
    accounts = {}
    for owner in bench.buyers:
        chain.unlock(owner.address)
        account = await create_account(
            chain, bench.deployment.factory, sender=deployer, owner=owner.address
        )
        grant = ACCOUNT.function("grantSession").encode(
            _session_key(owner).address, MAY_SIGN, UNTIL_S, 10**12
        )
        await send(chain, owner.address, account, grant)
        accounts[owner.address] = account
    await _fund(chain, bench.deployment, deployer, list(accounts.values()))
    # Each key's first charge fills its slot; what runs on is the second.
    intents = bench.intents(
        9,
        authority=SESSION_AUTHORITY,
        account_of=lambda key: accounts[key.address],
        signer_of=_session_key,
    )
    await bench.settle(bench.offers(1), intents, settled=BUYERS)
    return accounts


async def _account_overhead(chain: UnlockedChain, bench: Bench, deployer: str) -> tuple[int, int]:
    """The same batch through the account, and at a contract whose operator is a plain key."""
    through = await bench.settle(bench.offers(1), bench.intents(20), settled=BUYERS)
    plain = key_of("plain operator").address
    chain.unlock(plain)
    delay = bench.deployment.exit_delay_s
    code = SETTLEMENT.creation_code(bench.deployment.usdc, plain, delay)
    created = await send(chain, deployer, None, code)
    assert created.contract_address is not None
    deployment = msgspec.structs.replace(
        bench.deployment, settlement=created.contract_address.lower()
    )
    other = Bench(chain, deployment, plain)
    await _fund(chain, deployment, deployer, [key.address for key in other.buyers + other.sellers])
    first = key_of("first buyer")
    await _fund(chain, deployment, deployer, [first.address])
    lines = tuple(
        other.line(place, offer=place, units=1, payment=1_500) for place in range(SELLERS)
    )
    intent = other.intent(0, account=first.address, signer=first, lines=lines)
    await other.settle(other.offers(1), [intent], settled=SELLERS, direct=True)
    direct = await other.settle(other.offers(1), other.intents(20), settled=BUYERS, direct=True)
    return through, direct


def _against_peers(name: str, gas: int, peer: str, peer_gas: int) -> Figure:
    value = gas // BUYERS
    return Figure(
        name=name,
        value=value,
        unit="gas",
        peer=peer,
        peer_value=peer_gas,
        ratio=round(value / peer_gas, 3),
        target=TARGET_GAS,
    )


def check(figures: Sequence[Figure], snapshot: dict[str, int]) -> list[str]:
    """What rose above the snapshot by more than is allowed, or is not in it."""
    complaints = []
    for name, value in {figure.name: figure.value for figure in figures}.items():
        before = snapshot.get(name)
        if before is None:
            complaints.append(f"{name} is not in {SNAPSHOT.name}; run with --write")
        elif value * 100 > before * (100 + RISE_PERCENT_MAX):
            complaints.append(f"{name} rose from {before} to {value}")
    return complaints


def main(arguments: Sequence[str]) -> int:
    """Measure, print, and compare or write as asked."""
    parser = argparse.ArgumentParser(prog="python -m contracts.gas", description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail where gas rose")
    parser.add_argument("--write", action="store_true", help="replace gas.json")
    chosen = parser.parse_args(arguments)
    with Anvil.start(Options(block_time_ms=None)) as anvil:
        figures = asyncio.run(measure(anvil))
    for figure in figures:
        print(msgspec.json.encode(figure).decode())  # noqa: T201  its output
    if chosen.write:
        table = {figure.name: figure.value for figure in figures}
        SNAPSHOT.write_text(json.dumps(table, indent=2) + "\n")
    complaints = check(figures, json.loads(SNAPSHOT.read_text())) if chosen.check else []
    for complaint in complaints:
        print(complaint, file=sys.stderr)  # noqa: T201  its output
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
