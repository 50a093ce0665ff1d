"""What a mined transaction would cost under the prices of the Glamsterdam fork, from its trace.

No node of ours runs that fork, so this is arithmetic: the node says of every access to state what
it cost and refunded, each of those costs is known by one rule, and the difference is added up.

- EIP-2780: a transaction's base is 12,000, with 3,000 more for its recipient and 6,000 for value;
  all of it was 21,000.
- EIP-7976: calldata costs at least 64 gas a byte besides the base; was 40, and 10 for a zero.
- EIP-8037: a new storage slot costs 97,920 of state gas; was 20,000, its change included.
- EIP-8038: the first change of a slot costs 10,000 (was 2,800), a cold account 3,000 (2,600), value
  in a call 9,000 without its stipend (6,700), EXTCODESIZE and EXTCODECOPY 100 more; clearing a slot
  refunds 11,616 (4,800).

As of August 2026, when all four were in review. A cost that no rule knows is a fault, and so is a
trace that does not add up to the receipt: nothing is guessed. Not modelled, and refused: creation,
SELFDESTRUCT, access lists, delegations and blobs. A call that spends all gas it is given spends the
same here, although it would be given more.
"""

from typing import Any, Final

import msgspec

from contracts.anvil import Anvil
from contracts.fault import ContractsFault

TODAY_BASE: Final = 21_000
BASE: Final = 12_000
RECIPIENT: Final = 3_000
VALUE: Final = 6_000
BYTE: Final = 16
ZERO_BYTE: Final = 4
TODAY_FLOOR_BYTE: Final = 40
TODAY_FLOOR_ZERO_BYTE: Final = 10
FLOOR_BYTE: Final = 64
REFUND_DIVISOR: Final = 5
"""Refunds give back at most such a part of the gas, today and then (EIP-3529)."""
NEW_SLOT: Final = 97_920
FIRST_CHANGE: Final = 10_000
CLEARING: Final = 11_616
WARM: Final = 100
COLD_SLOT: Final = 2_100
COLD_ACCOUNT: Final = 3_000
TODAY_COLD_ACCOUNT: Final = 2_600
TODAY_CALL_VALUE: Final = 6_700
CALL_VALUE: Final = 9_000
"""Both without the stipend, which the callee gets of it."""
COPIED_WORD: Final = 3

SSTORE: Final = {
    22_100: COLD_SLOT + FIRST_CHANGE + NEW_SLOT,
    20_000: WARM + FIRST_CHANGE + NEW_SLOT,
    5_000: COLD_SLOT + FIRST_CHANGE,
    2_900: WARM + FIRST_CHANGE,
    2_200: COLD_SLOT,
    100: WARM,
}
"""What an SSTORE costs by what it costs today: of a new slot, cold or warm; the first change of one
that exists; one that changes nothing, or again what was changed."""

REFUNDS: Final = {
    0: (0, 0),
    4_800: (CLEARING, 0),
    -4_800: (-CLEARING, 0),
    2_800: (FIRST_CHANGE, 0),
    -2_000: (FIRST_CHANGE - CLEARING, 0),
    19_900: (FIRST_CHANGE, NEW_SLOT),
}
"""What it refunds, and gives back of state gas, by what it refunds today: of a slot that is
cleared; is set again; is as it was; was cleared and is as it was; was new and is none."""

CALLS: Final = frozenset({"CALL", "CALLCODE", "DELEGATECALL", "STATICCALL"})
TWO_READS: Final = frozenset({"EXTCODESIZE", "EXTCODECOPY"})
ACCOUNTS: Final = CALLS | TWO_READS | {"BALANCE", "EXTCODEHASH"}
REFUSED: Final = frozenset({"CREATE", "CREATE2", "SELFDESTRUCT"})

# What a step cost is what its frame had before it, less what it has at its next step, less what
# the callee used and what memory grew by. The refund counter is the frame's own. A frame that did
# not end by itself has used all that it was given, so what it used it for is left out.
_TRACER: Final = """{
  accesses: [], calls: [], open: {}, start: 0, left: 0,
  watched: {SLOAD: 1, SSTORE: 1, CALL: 1, CALLCODE: 1, DELEGATECALL: 1, STATICCALL: 1,
            BALANCE: 1, EXTCODEHASH: 1, EXTCODESIZE: 1, EXTCODECOPY: 1,
            CREATE: 1, CREATE2: 1, SELFDESTRUCT: 1},
  memory: function(bytes) {
    var words = Math.ceil(bytes / 32);
    return 3 * words + Math.floor(words * words / 512);
  },
  number: function(log, place) { return parseInt(log.stack.peek(place).toString(), 10); },
  step: function(log) {
    var depth = log.getDepth(), gas = log.getGas(), size = log.memory.length();
    var op = log.op.toString(), before = this.open[depth];
    if (before) {
      before.cost = before.gas - gas - before.used - this.memory(size) + this.memory(before.size);
      before.refund = log.getRefund() - before.refund;
      this.open[depth] = null;
    }
    if (depth == 1) {
      if (!this.start) this.start = gas;
      this.left = gas;
      if (op == "RETURN" || op == "REVERT") {
        var length = this.number(log, 1);
        var end = length ? Math.max(size, this.number(log, 0) + length) : size;
        this.left -= this.memory(end) - this.memory(size);
      }
    }
    if (!this.watched[op]) return;
    var access = {op: op, gas: gas, used: 0, size: size, cost: -1, refund: log.getRefund(),
                  words: 0, value: false, lost: false};
    if (op == "EXTCODECOPY") access.words = Math.ceil(this.number(log, 3) / 32);
    if (op == "CALL" || op == "CALLCODE") access.value = log.stack.peek(2).toString() != "0";
    this.accesses.push(access);
    this.open[depth] = access;
  },
  enter: function(frame) {
    this.calls.push({from: this.accesses.length, given: frame.getGas()});
    this.open[this.calls.length + 1] = null;
  },
  exit: function(result) {
    var call = this.calls.pop(), error = result.getError();
    var isHalted = error && error.indexOf("revert") < 0;
    this.accesses[call.from - 1].used += isHalted ? call.given : result.getGasUsed();
    if (isHalted) this.accesses.length = call.from;
    if (!error) return;
    for (var i = call.from; i < this.accesses.length; i++) this.accesses[i].lost = true;
  },
  fault: function() {},
  result: function() {
    var told = [];
    for (var i = 0; i < this.accesses.length; i++) {
      var a = this.accesses[i];
      told.push([a.op, a.cost, a.refund, a.words, a.value, a.lost]);
    }
    return {start: this.start, left: this.left, accesses: told};
  }
}"""


class Access(msgspec.Struct, frozen=True, array_like=True):
    """One access to state: what it cost and refunded; `is_lost` where its frame failed."""

    op: str
    cost: int
    refund: int = 0
    words: int = 0
    has_value: bool = False
    is_lost: bool = False


class Trace(msgspec.Struct, frozen=True, kw_only=True):
    """What execution began with and had left, before refunds, and its accesses."""

    start: int
    left: int
    accesses: tuple[Access, ...]


class Sent(msgspec.Struct, frozen=True, kw_only=True):
    """What is paid for before anything runs."""

    data: bytes
    has_value: bool = False
    is_to_itself: bool = False


class Price(msgspec.Struct, frozen=True, kw_only=True):
    """What an access costs then: in the end, the refund, and what is given back of state gas."""

    cost: int
    refund: int = 0
    refill: int = 0


def glamsterdam_gas(anvil: Anvil, transaction_hash: str) -> int:
    """What the transaction would have used. Raises ContractsFault where no rule fits."""
    sent, used = _sent(anvil, transaction_hash)
    traced = anvil.rpc("debug_traceTransaction", transaction_hash, {"tracer": _TRACER})
    trace = msgspec.convert(traced, Trace)
    told = gas_today(sent, trace)
    if told != used:
        raise ContractsFault(
            f"the trace of {transaction_hash} makes {told} gas, its receipt {used}"
        )
    return gas_then(sent, trace)


def gas_today(sent: Sent, trace: Trace) -> int:
    """What the trace adds up to at today's prices: the receipt's gas."""
    refund = sum(access.refund for access in trace.accesses if not access.is_lost)
    gas = TODAY_BASE + _calldata(sent.data) + trace.start - trace.left
    floor = _by_byte(sent.data, TODAY_FLOOR_BYTE, TODAY_FLOOR_ZERO_BYTE)
    return max(_refunded(gas, refund), TODAY_BASE + floor)


def gas_then(sent: Sent, trace: Trace) -> int:
    """The same under EIP-2780, 7976, 8037 and 8038."""
    base = BASE + (0 if sent.is_to_itself else RECIPIENT + (VALUE if sent.has_value else 0))
    gas = base + _calldata(sent.data) + trace.start - trace.left
    refund = 0
    for access in trace.accesses:
        price = price_of(access)
        gas += price.cost - access.cost - price.refill
        refund += price.refund
    return max(_refunded(gas, refund), base + FLOOR_BYTE * len(sent.data))


def price_of(access: Access) -> Price:
    """What one access costs then. Where its frame failed, nothing was created or refunded."""
    if access.op == "SLOAD":
        return Price(cost=_known({COLD_SLOT: COLD_SLOT, WARM: WARM}, access))
    if access.op == "SSTORE":
        cost = _known(SSTORE, access)
        if access.is_lost:
            return Price(cost=cost - NEW_SLOT if cost > NEW_SLOT else cost)
        if access.refund not in REFUNDS:
            raise ContractsFault(f"no rule for a refund of {access.refund}")
        refund, refill = REFUNDS[access.refund]
        return Price(cost=cost, refund=refund, refill=refill)
    if access.op in ACCOUNTS:
        return Price(cost=_account(access))
    raise ContractsFault(f"no rule for {access.op}")


def _account(access: Access) -> int:
    """Of an account, or of two where the one is delegated to the other (EIP-7702)."""
    besides = COPIED_WORD * access.words + (TODAY_CALL_VALUE if access.has_value else 0)
    then = COPIED_WORD * access.words + (CALL_VALUE if access.has_value else 0)
    then += WARM if access.op in TWO_READS else 0
    prices = {WARM: WARM, TODAY_COLD_ACCOUNT: COLD_ACCOUNT}
    if access.op in CALLS:
        prices |= {one + two: prices[one] + prices[two] for one in prices for two in prices}
    return then + _known({besides + today: cost for today, cost in prices.items()}, access)


def _known(prices: dict[int, int], access: Access) -> int:
    if access.cost not in prices:
        raise ContractsFault(f"no rule for {access.op} of {access.cost} gas")
    return prices[access.cost]


def _refunded(gas: int, refund: int) -> int:
    return gas - min(refund, gas // REFUND_DIVISOR)


def _calldata(data: bytes) -> int:
    return _by_byte(data, BYTE, ZERO_BYTE)


def _by_byte(data: bytes, byte: int, zero: int) -> int:
    zeros = data.count(0)
    return byte * (len(data) - zeros) + zero * zeros


def _sent(anvil: Anvil, transaction_hash: str) -> tuple[Sent, int]:
    """What was sent, and the gas of its receipt."""
    said: dict[str, Any] = anvil.rpc("eth_getTransactionByHash", transaction_hash)
    if said["to"] is None or said.get("accessList") or said.get("authorizationList"):
        raise ContractsFault(f"no rule for what {transaction_hash} is")
    receipt = anvil.rpc("eth_getTransactionReceipt", transaction_hash)
    sent = Sent(
        data=bytes.fromhex(said["input"][2:]),
        has_value=int(said["value"], 16) != 0,
        is_to_itself=said["to"] == said["from"],
    )
    return sent, int(receipt["gasUsed"], 16)
