"""What validation of a session key's user operation may do (ERC-7562), from traces on Anvil."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest

from contracts.account_bench import (
    ENTRY_POINTS,
    FEE_MAX_WEI,
    OPERATIONS_MAX,
    AccountBench,
    Terms,
    deploy_entry_point,
)
from contracts.anvil import Anvil, Options
from contracts.bench import key_of

BANNED = frozenset(
    {
        "BALANCE",
        "BASEFEE",
        "BLOBBASEFEE",
        "BLOBHASH",
        "BLOCKHASH",
        "COINBASE",
        "CREATE",
        "CREATE2",
        "DIFFICULTY",
        "GASLIMIT",
        "GASPRICE",
        "INVALID",
        "NUMBER",
        "ORIGIN",
        "PREVRANDAO",
        "SELFBALANCE",
        "SELFDESTRUCT",
        "TIMESTAMP",
    }
)
CALLS = frozenset({"CALL", "CALLCODE", "DELEGATECALL", "STATICCALL"})
VERIFICATION_GAS_MAX = 150_000


@pytest.mark.parametrize("package", ENTRY_POINTS.values())
async def test_validation_reads_no_clock_and_nothing_of_others(package: str) -> None:
    """No banned opcode, no call but to its own code and precompiles, no write, little gas.

    The canary: the execution that follows does read the clock, and the same look finds it.
    """
    with Anvil.start(Options(block_time_ms=None)) as anvil:
        bench = await AccountBench.open(anvil, await deploy_entry_point(anvil, package))
        await bench.deposit()
        key = key_of("session with fees")
        terms = Terms(key=key.address, fee_max=FEE_MAX_WEI, operations_max=OPERATIONS_MAX)
        await bench.by_owner("grantTerms", terms.values())
        call = {"from": bench.relayer, "to": bench.entry_point, "gas": hex(1_000_000)}
        call["data"] = "0x" + (await bench.bundle(key, 0)).hex()
        options = {"disableStorage": True}
        steps = anvil.rpc("debug_traceCall", call, "latest", options)["structLogs"]
    validation, execution = _frames(steps)
    assert not _banned(validation)
    assert "TIMESTAMP" in _banned(execution)
    assert {step["op"] for step in validation} & {"SSTORE", "TSTORE"} == set()
    assert int(validation[0]["gas"]) - int(validation[-1]["gas"]) <= VERIFICATION_GAS_MAX
    called = set(_called(validation))
    assert called <= {"01", bench.implementation[2:].lstrip("0")}, called


def _frames(steps: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """What ran below the entry point: the validation, then the execution."""
    frames: list[list[dict[str, Any]]] = []
    before = 1
    for step in steps:
        if step["depth"] > 1:
            if before == 1:
                frames.append([])
            frames[-1].append(step)
        before = step["depth"]
    long = [frame for frame in frames if len(frame) > 300]
    assert len(long) == 2, [len(frame) for frame in frames]
    return long


def _banned(steps: list[dict[str, Any]]) -> set[str]:
    """Opcodes that validation may not use; GAS only right before a call."""
    found = {step["op"] for step in steps} & BANNED
    for step, after in pairwise(steps):
        if step["op"] == "GAS" and after["op"] not in CALLS:
            found.add("GAS")
    return found


def _called(steps: list[dict[str, Any]]) -> Iterator[str]:
    for step in steps:
        if step["op"] in CALLS:
            address = int(step["stack"][-2], 16) & (2**160 - 1)
            yield f"{address:02x}"
