"""What transactions cost under the prices of Glamsterdam, against sums made by hand.

Every contract here is a few bytes, so each gas figure can be checked on paper: PUSH0 is 2 gas,
PUSH1 3, POP 2, and STOP nothing.
"""

import pytest

from contracts.anvil import Anvil
from contracts.bench import UnlockedChain
from contracts.deploy import send
from contracts.fault import ContractsFault
from contracts.repricing import Access, Sent, Trace, gas_then, gas_today, glamsterdam_gas, price_of

ROOMY = 1_000_000
REVERT = "5f5ffd"


async def created(anvil: Anvil, code: str) -> str:
    """The address of a contract with this code."""
    raw = bytes.fromhex(code)
    loader = b"\x61" + len(raw).to_bytes(2, "big") + bytes.fromhex("80600a3d393df3")
    deployer = anvil.rpc("eth_accounts")[0]
    receipt = await send(UnlockedChain(anvil), deployer, None, loader + raw)
    assert receipt.contract_address is not None
    return receipt.contract_address


async def sent(anvil: Anvil, to: str, data: str = "", value: int = 0) -> tuple[int, int]:
    """What a transaction used, and what it would use."""
    anvil.rpc("evm_setAutomine", True)
    sender = anvil.rpc("eth_accounts")[0]
    chain = UnlockedChain(anvil)
    receipt = await chain.transact(sender, to, bytes.fromhex(data), value, ROOMY)
    return receipt.gas_used, glamsterdam_gas(anvil, receipt.transaction_hash)


async def with_slot(anvil: Anvil, code: str) -> str:
    """A contract that sets its slot 0 to 1 when called without data, and else runs the code."""
    contract = await created(anvil, "3660095760015f55005b" + code)
    await sent(anvil, contract)
    return contract


# Besides what the code does: CALLDATASIZE 2, PUSH1 3, JUMPI 10, JUMPDEST 1, a byte of data 16.
ENTRY = 32


async def test_eip_2780_prices_the_base_by_what_it_touches(anvil: Anvil) -> None:
    """12,000 to oneself, 15,000 to another, 21,000 with value: all of it was 21,000."""
    stop = await created(anvil, "00")
    self = anvil.rpc("eth_accounts")[0]
    assert await sent(anvil, stop) == (21_000, 15_000)
    assert await sent(anvil, stop, value=1) == (21_000, 21_000)
    assert await sent(anvil, self) == (21_000, 12_000)
    assert await sent(anvil, self, value=1) == (21_000, 12_000)


async def test_eip_7976_floors_calldata(anvil: Anvil) -> None:
    """64 gas a byte at least, zeros too; execution counts only where it comes to more."""
    stop = await created(anvil, "00")
    data = "11" * 100 + "00" * 100
    # Today: 100 times 40 and 100 times 10 are the floor, 16 and 4 would be 2,000.
    assert await sent(anvil, stop, data) == (21_000 + 5_000, 15_000 + 200 * 64)
    # 1,000 bytes at 16, and a new slot: above the floor of 64,000, which is besides the base.
    setter = await created(anvil, "60015f55")
    used, then = await sent(anvil, setter, "11" * 1_000)
    assert used == 21_000 + 40_000
    assert then == 15_000 + 16_000 + 5 + 2_100 + 10_000 + 97_920


async def test_eip_8037_prices_a_new_slot(anvil: Anvil) -> None:
    """A slot that was zero: 97,920 of state gas besides its access and its first change."""
    cold = await created(anvil, "60015f55")
    assert await sent(anvil, cold) == (21_005 + 22_100, 15_005 + 2_100 + 10_000 + 97_920)
    # Read first: PUSH0, SLOAD, POP, then PUSH1, PUSH0, SSTORE.
    warm = await created(anvil, "5f545060015f55")
    assert await sent(anvil, warm) == (21_009 + 2_100 + 20_000, 15_009 + 2_100 + 10_100 + 97_920)


async def test_eip_8038_prices_a_change(anvil: Anvil) -> None:
    """The first change of a slot costs 10,000, further ones and none at all an access."""
    changed = await with_slot(anvil, "60025f55")
    assert await sent(anvil, changed, "01") == (21_005 + ENTRY + 5_000, 15_005 + ENTRY + 12_100)
    twice = await with_slot(anvil, "60025f5560035f55")
    assert await sent(anvil, twice, "01") == (21_010 + ENTRY + 5_100, 15_010 + ENTRY + 12_200)
    same = await with_slot(anvil, "60015f55")
    assert await sent(anvil, same, "01") == (21_005 + ENTRY + 2_200, 15_005 + ENTRY + 2_100)


async def test_eip_8038_refunds_what_is_cleared_or_undone(anvil: Anvil) -> None:
    """A cleared slot, one that is as it was, and one that came and went; a fifth at most."""
    cleared = await with_slot(anvil, "5f5f55")
    used, then = 21_004 + ENTRY + 5_000, 15_004 + ENTRY + 12_100
    assert await sent(anvil, cleared, "01") == (used - 4_800, then - then // 5)
    undone = await with_slot(anvil, "60025f5560015f55")
    used, then = 21_010 + ENTRY + 5_100, 15_010 + ENTRY + 12_200
    assert await sent(anvil, undone, "01") == (used - 2_800, then - then // 5)
    gone = await created(anvil, "60015f555f5f55")
    used, then = 21_009 + 22_200, 15_009 + 12_200
    assert await sent(anvil, gone) == (used - used // 5, then - then // 5)


async def test_eip_8038_prices_accounts(anvil: Anvil) -> None:
    """A cold account 3,000; size and code are read in 100 more; value in a call 9,000."""
    other = await created(anvil, "00")
    push = "73" + other[2:]
    # BALANCE and EXTCODEHASH; then again, warm.
    looked = await created(anvil, f"{push}31{push}3f")
    assert await sent(anvil, looked) == (21_006 + 2_600 + 100, 15_006 + 3_000 + 100)
    sized = await created(anvil, f"{push}3b")
    assert await sent(anvil, sized) == (21_003 + 2_600, 15_003 + 3_100)
    # 64 bytes of code to 0: two words copied, two words of memory.
    copied = await created(anvil, f"60405f5f{push}3c")
    assert await sent(anvil, copied) == (21_010 + 2_600 + 12, 15_010 + 3_100 + 12)
    # Five zeros but for the value, a gas of 0: the callee lives on the stipend.
    paying = await created(anvil, f"5f5f5f5f34{push}5ff1")
    assert await sent(anvil, paying) == (21_015 + 2_600, 15_015 + 3_000)
    assert await sent(anvil, paying, value=1) == (21_015 + 9_300, 21_015 + 12_000)


async def test_a_callee_that_reverts_creates_nothing(anvil: Anvil) -> None:
    """Its accesses and its change are paid, its slot is not, and nothing is refunded."""
    inner = await created(anvil, "60015f55" + REVERT)
    # Five zeros, the callee, 50,000 gas.
    outer = await created(anvil, f"5f5f5f5f5f73{inner[2:]}61c350f1")
    steps = 10 + 3 + 3
    used = 21_000 + steps + 2_600 + 5 + 22_100 + 4
    assert await sent(anvil, outer) == (used, 15_000 + steps + 3_000 + 5 + 12_100 + 4)


async def test_a_callee_that_fails_has_spent_what_it_was_given(anvil: Anvil) -> None:
    """50,000 gas then as today, whatever it did with it."""
    inner = await created(anvil, "60015f55fe")
    outer = await created(anvil, f"5f5f5f5f5f73{inner[2:]}61c350f1")
    steps = 10 + 3 + 3
    assert await sent(anvil, outer) == (
        21_000 + steps + 2_600 + 50_000,
        15_000 + steps + 3_000 + 50_000,
    )


async def test_what_no_rule_prices_is_refused(anvil: Anvil) -> None:
    """Creation inside a transaction and as one, and costs that were never seen."""
    creating = await created(anvil, "5f5f5ff0")
    with pytest.raises(ContractsFault, match="no rule for CREATE"):
        await sent(anvil, creating)
    deployer = anvil.rpc("eth_accounts")[0]
    receipt = await send(UnlockedChain(anvil), deployer, None, b"\x00")
    with pytest.raises(ContractsFault, match="no rule"):
        glamsterdam_gas(anvil, receipt.transaction_hash)
    for access in (
        Access(op="SLOAD", cost=2_101),
        Access(op="SSTORE", cost=5_001),
        Access(op="SSTORE", cost=5_000, refund=4_801),
        Access(op="EXTCODEHASH", cost=200),
        Access(op="CALL", cost=2_600, has_value=True),
    ):
        with pytest.raises(ContractsFault, match="no rule"):
            price_of(access)


def test_a_delegated_account_is_two_accounts() -> None:
    """A call to an account that runs another's code pays for both, cold or warm (EIP-7702)."""
    assert price_of(Access(op="CALL", cost=5_200)).cost == 6_000
    assert price_of(Access(op="STATICCALL", cost=2_700)).cost == 3_100


def test_refunds_of_a_failed_frame_are_lost() -> None:
    """A trace whose refund was lost has none today, and none then."""
    kept = Access(op="SSTORE", cost=5_000, refund=4_800)
    lost = Access(op="SSTORE", cost=5_000, refund=4_800, is_lost=True)
    sums = [
        (
            gas_today(Sent(data=b""), Trace(start=90_000, left=0, accesses=(access,))),
            gas_then(Sent(data=b""), Trace(start=90_000, left=0, accesses=(access,))),
        )
        for access in (kept, lost)
    ]
    assert sums == [(106_200, 100_484), (111_000, 112_100)]
