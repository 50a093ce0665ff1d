"""What gas comes to in dollars, on three chains and after the fork."""

from contracts.anvil import Anvil
from contracts.bench import UnlockedChain
from contracts.deploy import Receipt, send
from contracts.gas_table import (
    BASE_WEI,
    L1_WEI,
    SPIKE_WEI,
    Shown,
    costs,
    nanodollars,
    table,
)
from contracts.repricing import FLOOR_BYTE


def test_dollars_are_gas_by_price_by_ether() -> None:
    """The most gas that a tenth of a cent buys is what those prices are known for."""
    # 280,754 gwei of ether at 3,192.59 dollars.
    assert nanodollars(229, L1_WEI) == 896_332
    assert nanodollars(255, L1_WEI) < 1_000_000 < nanodollars(256, L1_WEI)
    assert nanodollars(16_398, BASE_WEI) < 1_000_000 < nanodollars(16_400, BASE_WEI)
    # 8,000 fills share what one transaction costs; nothing is rounded before that.
    assert nanodollars(8_000 * 229, L1_WEI, 8_000) == 896_332
    assert nanodollars(1, L1_WEI, 8_000) == 0


async def empty_call(anvil: Anvil, data: bytes) -> Receipt:
    """A transaction to an account that does nothing with its data."""
    anvil.rpc("evm_setAutomine", True)
    sender, idle = anvil.rpc("eth_accounts")[:2]
    return await send(UnlockedChain(anvil), sender, idle, data)


async def test_a_cost_has_its_data_on_base(anvil: Anvil) -> None:
    """Besides gas, Base charges for what does not compress; a spike makes that most of it."""
    receipt = await empty_call(anvil, b"\x01" * 10_000)
    noise = await empty_call(anvil, bytes(place * 97 % 251 for place in range(1_000)))
    (dull, busy) = costs(
        anvil,
        [
            Shown(name="dull", receipt=receipt, fills=10),
            Shown(name="other name of busy", receipt=noise),
            Shown(name="busy", receipt=noise),
        ],
    )
    assert (dull.name, busy.name) == ("dull_cost", "busy_cost")
    assert dull.gas == receipt.gas_used // 10
    assert dull.l1 == nanodollars(receipt.gas_used, L1_WEI, 10)
    # 10,000 times the same byte are some 30 bytes, and 110 of envelope.
    data = dull.base - nanodollars(receipt.gas_used, BASE_WEI, 10)
    assert 120 * 19 < data < 160 * 19
    assert 120 * 10_000 < dull.spike - nanodollars(receipt.gas_used, SPIKE_WEI, 10) < 160 * 10_000
    assert dull.glamsterdam_gas == (15_000 + FLOOR_BYTE * 10_000) // 10
    assert dull.glamsterdam_l1 == nanodollars(15_000 + FLOOR_BYTE * 10_000, L1_WEI, 10)


async def test_the_table_says_what_the_fork_makes_much_dearer(anvil: Anvil) -> None:
    """A line a figure in equal columns; more than 2.5 times today's gas is marked."""
    chain = UnlockedChain(anvil)
    sender = anvil.rpc("eth_accounts")[0]
    # PUSH1 1, CALLVALUE, SSTORE: a new slot.
    setter = await send(
        chain, sender, None, bytes.fromhex("6360013455") + bytes.fromhex("5f526004601cf3")
    )
    fresh = await send(chain, sender, setter.contract_address, b"")
    idle = await empty_call(anvil, b"")
    said = table(costs(anvil, [Shown(name="new", receipt=fresh), Shown(name="idle", receipt=idle)]))
    head, new, same = said.splitlines()
    assert head.split()[:2] == ["gas", "L1"]
    assert "2.90 (above 2.5)" in new
    assert "0.71" in same
    assert "above" not in same
