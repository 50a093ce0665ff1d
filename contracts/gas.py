"""Gas per fill from receipts of mined transactions, as JSON lines: `python -m contracts.gas`.

A fresh Anvil; 50 buyers and 10 sellers whose balances exist; every batch goes through the
operator's account, sent by its session key, and carries 50 fills. All keys, addresses
and the chain's first time are fixed, so that the figures are too: a cap's charge costs more
where a part of its window has ended, as it has for every key of the metered figures. The
peers are constants, measured elsewhere on the same machine by running each protocol's own
contracts: CoW Protocol's GPv2Settlement with 50 trades in a batch, and UniswapX's
V2DutchOrderReactor (which fills one order at a time). Both pay per trade; a lower ratio is
better for us.

After the figures come what the same transactions cost in dollars and under the prices of the
Glamsterdam fork (`contracts.gas_table`): JSON lines too, and for people a table on stderr.

`--check` compares with `gas.json` and fails where a figure rose by more than 2 %;
`--write` replaces that file.
"""

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from contracts.account_bench import account_figures
from contracts.anvil import DEV_KEY, Anvil, Options
from contracts.bench import BUYERS, SELLERS, SESSION_UNTIL_S, Bench, UnlockedChain, fund, key_of
from contracts.bindings import DESK, SETTLEMENT
from contracts.deploy import (
    UNCOVERED_CAP,
    Deployment,
    Plan,
    Receipt,
    SessionPlan,
    deploy,
    grant_session,
    send,
)
from contracts.fault import ContractsFault
from contracts.gas_table import Shown, costs, table
from contracts.metered import AUTHORITY_SESSION
from contracts.metered_bench import ANY_RESOURCE, KEY_PERIOD_S, METERED_BUYERS, MeteredBench
from contracts.volume_bench import HUNDRED_THOUSAND, VolumeBench
from intents.signature import SigningKey

BULK: Final = 64
BAD: Final = 5
FILLS: Final = 8_000
ROOT_FILLS: Final = 10_000
FILL_ATOMS: Final = 1_500
FUNDS: Final = 1_000_000_000
CHAIN_ID: Final = 31_337
BEGINS_AT_S: Final = 2_123_301_600
"""When a part of a window of a day, and of one of 91 days, has just begun: no other is used."""
STATES_TRACED_MAX: Final = 10_000
"""Every block is mined before the first of them is traced."""
COW_GPV2_GAS: Final = 58_610
UNISWAPX_GAS: Final = 71_139
TARGET_GAS: Final = 45_000
TRANSACTIONS_MAX: Final = 10
RISE_PERCENT_MAX: Final = 2
SNAPSHOT: Final = Path(__file__).with_name("gas.json")
SESSION_AUTHORITY: Final = 2
MAY_SIGN: Final = 2


class Figure(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One printed line. `ratio` is value / peer_value."""

    name: str
    value: int
    unit: str
    peer: str = ""
    peer_value: int = 0
    ratio: float = 0.0
    target: int = 0


class Measurement(msgspec.Struct, frozen=True, kw_only=True):
    """All figures, and the transactions of which those are that one transaction shows alone."""

    figures: list[Figure]
    shown: list[Shown]


async def measure(anvil: Anvil) -> Measurement:
    """All figures, from one chain."""
    chain = UnlockedChain(anvil)
    deployer = anvil.rpc("eth_accounts")[0]
    session = key_of("session").address
    chain.unlock(session)
    deployment = await deploy(chain, Plan(chain_id=CHAIN_ID, deployer=deployer, owner=deployer))
    await grant_session(chain, deployment, SessionPlan(key=session, expires_at=SESSION_UNTIL_S))
    bench = Bench(chain, deployment, session)
    await fund(chain, deployment, [key.address for key in bench.buyers + bench.sellers], FUNDS)
    await _warm_up(chain, bench)

    standing = bench.offers(1)
    fresh = await bench.settle(standing, bench.intents(4), settled=BUYERS)
    new_offers = await bench.settle(bench.offers(8), bench.intents(8), settled=BUYERS)
    warm = await bench.settle(standing, bench.intents(5), settled=BUYERS)
    await _grant_sessions(chain, bench)
    by_session = await bench.settle(
        standing,
        bench.intents(12, authority=SESSION_AUTHORITY, signer_of=_session_key),
        settled=BUYERS,
    )
    stranger = key_of("stranger")
    bad = await bench.settle(standing, bench.intents(16, signer_of=lambda _: stranger), settled=0)
    through, direct = await _account_overhead(chain, bench, deployer)
    bulk = await bench.settle(standing, bench.bulk(64, BULK, bench.buyers[0]), settled=BULK)
    mandate = bench.mandate(64, BULK, bench.buyers[1])
    under_mandate = await bench.settle(standing, [mandate], settled=BULK)
    whole = await bench.settle(standing, bench.intents(6, is_whole=True), settled=BUYERS)
    wide = await bench.settle(standing, bench.wide_intents(24, 10, 10), settled=100)
    good_and_bad = bench.intents(28, signer_of=lambda key: key)
    good = good_and_bad[BAD:]
    bad_ones = bench.intents(28, signer_of=lambda _: stranger)[:BAD]
    with_bad = await bench.settle(standing, bad_ones + good, settled=BUYERS - BAD)
    without = await bench.settle(
        standing, bench.intents(32, signer_of=lambda key: key)[BAD:], settled=BUYERS - BAD
    )
    awarded = await _awarded(chain, bench)
    receipts, attested = await _metered(anvil, chain, deployment, session)
    of_account = await account_figures(anvil)
    shown = [
        Shown(name="verified_gas_per_fill_50_warm_slots", receipt=warm, fills=BUYERS),
        Shown(name="verified_gas_per_fill_50_session_buyers", receipt=by_session, fills=BUYERS),
        Shown(name="skipped_gas_per_bad_fill_50", receipt=bad, fills=BUYERS),
        Shown(name="bulk_gas_per_fill_64", receipt=bulk, fills=BULK),
        Shown(name="mandate_gas_per_fill_64", receipt=under_mandate, fills=BULK),
        Shown(name="verified_fok_50", receipt=whole, fills=BUYERS, target=30_000),
        Shown(name="verified_partial_50", receipt=fresh, fills=BUYERS, target=45_000),
        Shown(name="awarded_partial_50", receipt=awarded, fills=BUYERS),
        Shown(name="verified_100x10", receipt=wide, fills=100, target=18_000),
        Shown(name="metered_gas_per_fill", receipt=receipts, fills=FILLS, target=205),
        Shown(name="root_gas_per_fill", receipt=attested, fills=ROOT_FILLS, target=85),
        *(
            Shown(name=name, receipt=receipt, target=target)
            for name, (receipt, target) in of_account.items()
        ),
    ]
    figures = [
        _against_peers("verified_gas_per_fill_50", fresh, "CoW Protocol GPv2", COW_GPV2_GAS),
        _against_peers("verified_gas_per_fill_50", fresh, "UniswapX V2Dutch", UNISWAPX_GAS),
        _against_peers(
            "verified_gas_per_fill_50_new_offers", new_offers, "CoW Protocol GPv2", COW_GPV2_GAS
        ),
        _target("bad_fill_gas", (with_bad.gas_used - without.gas_used) // BAD, 15_000),
        _target("account_overhead_gas_per_batch_50", through - direct, 0),
        *(_target(one.name, one.gas, one.target) for one in shown),
    ]
    return Measurement(figures=figures, shown=shown)


async def measure_volume(anvil: Anvil) -> list[Figure]:
    """100,000 fills of one market, settled, with every account held against its books."""
    bench = await VolumeBench.open(anvil, HUNDRED_THOUSAND)
    settled = await bench.settle(HUNDRED_THOUSAND)
    return [
        Figure(
            name="fills_100k_transactions",
            value=settled.transactions,
            unit="transactions",
            target=TRANSACTIONS_MAX,
        ),
        _target("fills_100k_gas_per_fill", settled.gas // settled.fills, 0),
    ]


async def _metered(
    anvil: Anvil, chain: UnlockedChain, deployment: Deployment, session: str
) -> tuple[Receipt, Receipt]:
    """8,000 fills by 80 signed receipts, and 10,000 by a root and net sums."""
    bench = MeteredBench(anvil, deployment, session)
    await bench.open_book()
    await fund(chain, deployment, bench.accounts, FUNDS)
    keys = await bench.grant_keys()
    by_key = bench.receipts(keys, AUTHORITY_SESSION)
    await bench.settle(by_key, root=bench.root(1))
    bench.next_round()
    by_key = bench.receipts(keys, AUTHORITY_SESSION)
    receipts = await bench.settle(by_key, root=bench.root(FILLS))
    bench.next_round()
    atoms = ROOT_FILLS * FILL_ATOMS // METERED_BUYERS
    attested = await bench.settle(bench.attested(atoms), root=bench.root(ROOT_FILLS))
    for receipt in (receipts, attested):
        if bench.new_slots(receipt):
            raise ContractsFault("a batch in the steady state made a storage slot")
    return receipts, attested


def _target(name: str, value: int, target: int) -> Figure:
    return Figure(name=name, value=value, unit="gas", target=target)


async def _warm_up(chain: UnlockedChain, bench: Bench) -> None:
    """A market that runs: the standing offers, the batch word and the session were used."""
    first = key_of("first buyer")
    await fund(chain, bench.deployment, [first.address], FUNDS)
    lines = tuple(
        bench.line(place, offer=place, units=1, payment=1_500) for place in range(SELLERS)
    )
    intent = bench.intent(0, account=first.address, signer=first, lines=lines)
    await bench.settle(bench.offers(1), [intent], settled=SELLERS)


async def _awarded(chain: UnlockedChain, bench: Bench) -> Receipt:
    """50 fills of one award, each with its proof, for a solver that was paid before."""
    owner, solver = SigningKey(DEV_KEY), key_of("solver").address
    await fund(chain, bench.deployment, [solver], FUNDS)
    entries, award = bench.awarded(36, solver, owner)
    return await bench.settle(bench.offers(1), entries, settled=BUYERS, awards=[award])


def _session_key(owner: SigningKey) -> SigningKey:
    return key_of(f"session of {owner.address}")


async def _grant_sessions(chain: UnlockedChain, bench: Bench) -> None:
    """A key of each buyer that may sign, within a rolling cap; it was charged before."""
    grant = SETTLEMENT.function("grantSession")
    for owner in bench.buyers:
        chain.unlock(owner.address)
        terms = (owner.address, _session_key(owner).address, 0, MAY_SIGN, ANY_RESOURCE, 0, 0)
        caps = (10**12, KEY_PERIOD_S, SESSION_UNTIL_S, 0, 0)
        await send(chain, owner.address, bench.deployment.settlement, grant.encode(terms + caps))
    intents = bench.intents(9, authority=SESSION_AUTHORITY, signer_of=_session_key)
    await bench.settle(bench.offers(1), intents, settled=BUYERS)


async def _account_overhead(chain: UnlockedChain, bench: Bench, deployer: str) -> tuple[int, int]:
    """The same batch through the account, and at a contract whose operator is a plain key."""
    through = await bench.settle(bench.offers(1), bench.intents(20), settled=BUYERS)
    plain = key_of("plain operator").address
    chain.unlock(plain)
    delay = bench.deployment.exit_delay_s
    usdc = bench.deployment.usdc
    desk = await send(chain, deployer, None, DESK.creation_code(usdc, plain, delay))
    code = SETTLEMENT.creation_code(usdc, plain, delay, UNCOVERED_CAP, desk.contract_address)
    created = await send(chain, deployer, None, code)
    assert created.contract_address is not None
    deployment = msgspec.structs.replace(
        bench.deployment, settlement=created.contract_address.lower()
    )
    other = Bench(chain, deployment, plain)
    await fund(chain, deployment, [key.address for key in other.buyers + other.sellers], FUNDS)
    first = key_of("first buyer")
    await fund(chain, deployment, [first.address], FUNDS)
    lines = tuple(
        other.line(place, offer=place, units=1, payment=1_500) for place in range(SELLERS)
    )
    intent = other.intent(0, account=first.address, signer=first, lines=lines)
    await other.settle(other.offers(1), [intent], settled=SELLERS, direct=True)
    direct = await other.settle(other.offers(1), other.intents(20), settled=BUYERS, direct=True)
    return through.gas_used, direct.gas_used


def _against_peers(name: str, receipt: Receipt, peer: str, peer_gas: int) -> Figure:
    value = receipt.gas_used // BUYERS
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
    options = Options(
        block_time_ms=None, begins_at_s=BEGINS_AT_S, states_on_disk_max=STATES_TRACED_MAX
    )
    with Anvil.start(options) as anvil:
        measured = asyncio.run(measure(anvil))
        figures = measured.figures + asyncio.run(measure_volume(anvil))
        priced = costs(anvil, measured.shown)
    for line in (*figures, *priced):
        print(msgspec.json.encode(line).decode())  # noqa: T201  its output
    print(table(priced), file=sys.stderr)  # noqa: T201  its output
    if chosen.write:
        snapshot = {figure.name: figure.value for figure in figures}
        SNAPSHOT.write_text(json.dumps(snapshot, indent=2) + "\n")
    complaints = check(figures, json.loads(SNAPSHOT.read_text())) if chosen.check else []
    for complaint in complaints:
        print(complaint, file=sys.stderr)  # noqa: T201  its output
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
