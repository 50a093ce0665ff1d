"""The contracts as Python sees them, derived from the committed artifacts.

Selectors, topics and types come from `artifact/*.json`; what is written out here are the
log structs, and import fails if their fields are not the ABI's. The packed layout of a
batch, which no ABI describes, is in `contracts.batch`.
"""

# ruff: noqa: D101  what each log means is said where it is declared, in the Solidity interfaces

from functools import cached_property
from importlib import resources
from typing import Any, Final

import msgspec
from eth_abi.abi import decode
from eth_abi.exceptions import DecodingError

from contracts.abi import Item
from contracts.fault import ArtifactFault

_ERROR_STRING: Final = bytes.fromhex("08c379a0")
_PANIC: Final = bytes.fromhex("4e487b71")
MAGIC_1271: Final = bytes.fromhex("1626ba7e")
"""What `isValidSignature` answers for a valid signature (EIP-1271)."""


class Contract(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", dict=True, forbid_unknown_fields=True
):
    """A compiled contract: its name, interface and creation code."""

    contract_name: str
    abi: tuple[Item, ...]
    bytecode: str

    def function(self, name: str) -> Item:
        """The one function called `name`, which may be a full signature."""
        return self._one("function", name)

    def event(self, name: str) -> Item:
        """The event called `name`."""
        return self._one("event", name)

    @cached_property
    def errors(self) -> dict[bytes, Item]:
        """Custom errors by selector."""
        return {item.selector: item for item in self.abi if item.type == "error"}

    def creation_code(self, *arguments: object) -> bytes:
        """What a creating transaction carries."""
        code = bytes.fromhex(self.bytecode.removeprefix("0x"))
        return code + (self._one("constructor", "").encode_inputs(*arguments) if arguments else b"")

    def _one(self, kind: str, name: str) -> Item:
        found = [
            item for item in self.abi if item.type == kind and name in (item.name, item.signature)
        ]
        if len(found) != 1:
            raise ArtifactFault(f"{self.contract_name} has {len(found)} of {kind} {name}")
        return found[0]


def load(name: str) -> Contract:
    """Read one committed artifact."""
    file = resources.files("contracts") / "artifact" / f"{name}.json"
    try:
        return msgspec.json.decode(file.read_bytes(), type=Contract)
    except (OSError, msgspec.DecodeError) as error:
        raise ArtifactFault(f"artifact of {name}: {error}; run `make artifacts`") from error


def with_code_of(contract: Contract, other: Contract) -> Contract:
    """The contract as it is called where it runs the other's code for what it does not know."""
    more = tuple(item for item in other.abi if item.type != "constructor")
    abi = contract.abi + tuple(item for item in more if item not in contract.abi)
    return msgspec.structs.replace(contract, abi=abi)


DESK: Final = load("SettlementDesk")
SETTLEMENT: Final = with_code_of(load("Settlement"), DESK)
"""The settlement contract, and what the desk answers at its address."""
BOND: Final = load("BreachBond")
BONDS: Final = load("SolverBonds")
"""Of solvers; `BOND` is the operator's."""
ACCOUNT: Final = load("SessionAccount")
FACTORY: Final = load("SessionAccountFactory")
RELAY: Final = load("SessionRelay")
USDC: Final = load("TestUSDC")


class RawLog(msgspec.Struct, frozen=True, kw_only=True):
    """A log as a node gives it."""

    address: str
    topics: tuple[bytes, ...]
    data: bytes
    block_number: int
    block_hash: str
    log_index: int
    transaction_hash: str


class Log(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """A decoded log. Addresses and hashes are lower-case 0x-hex."""


class Deposited(Log, frozen=True, kw_only=True):
    account: str
    source: str = msgspec.field(name="from")
    amount: int
    balance_after: int


class WithdrawalRequested(Log, frozen=True, kw_only=True):
    account: str
    amount: int
    available_at: int


class WithdrawalCancelled(Log, frozen=True, kw_only=True):
    account: str


class Withdrawn(Log, frozen=True, kw_only=True):
    account: str
    to: str
    amount: int


class Cancelled(Log, frozen=True, kw_only=True):
    account: str
    nonce: int
    effective_at: int


class EpochBumped(Log, frozen=True, kw_only=True):
    account: str
    epoch: int
    effective_at: int


class FillSettled(Log, frozen=True, kw_only=True):
    fill: str
    buyer: str
    seller: str
    amounts: int

    @staticmethod
    def amounts_of(*, units: int, delivered: int, payment: int) -> int:
        """The one word that says all three: u64, u64 and u96."""
        return units << 160 | delivered << 96 | payment

    @property
    def units(self) -> int:
        """Of the intent, that this fill is."""
        return self.amounts >> 160

    @property
    def delivered(self) -> int:
        """Of these, what the seller is paid for."""
        return self.amounts >> 96 & 2**64 - 1

    @property
    def payment(self) -> int:
        """Atoms that the buyer paid."""
        return self.amounts & 2**96 - 1


class RewardPaid(Log, frozen=True, kw_only=True):
    auction: int
    solver: str
    seller: str
    reward: int


class FillSkipped(Log, frozen=True, kw_only=True):
    fill: str
    reason: int


class BatchSettled(Log, frozen=True, kw_only=True):
    number: int
    batch_hash: str
    paid: int
    settled: int
    skipped: int


class MeteredSettled(Log, frozen=True, kw_only=True):
    number: int
    root: str
    paid: int
    buyers: str
    sellers: str


class RecordSkipped(Log, frozen=True, kw_only=True):
    number: int
    account: str
    problem: int


class ReceiptClaimed(Log, frozen=True, kw_only=True):
    account: str
    signer: str
    base: int
    spent: int
    executable_at: int
    lines: str


class ClaimExecuted(Log, frozen=True, kw_only=True):
    account: str
    spent: int
    paid: int
    sellers: str


class BreachProven(Log, frozen=True, kw_only=True):
    number: int
    fill: str
    harmed: str
    harm: int
    paid: int


class BondDeposited(Log, frozen=True, kw_only=True):
    solver: str
    source: str = msgspec.field(name="from")
    amount: int
    amount_after: int


class BondWithdrawalRequested(Log, frozen=True, kw_only=True):
    solver: str
    amount: int
    available_at: int


class BondWithdrawn(Log, frozen=True, kw_only=True):
    solver: str
    to: str
    amount: int


class SolverPenalised(Log, frozen=True, kw_only=True):
    auction: int
    solver: str
    solution: str
    paid: int
    amount_after: int


class RegistryLog(Log, frozen=True, kw_only=True):
    """A log of the session registry; named so because accounts have others of the same names."""

    account: str


class RegistrySessionGranted(RegistryLog, frozen=True, kw_only=True):
    key: str
    resource: str
    word: int
    terms: int
    units: int


class RegistrySessionRotated(RegistryLog, frozen=True, kw_only=True):
    key: str
    replacement: str


class RegistrySessionRevoked(RegistryLog, frozen=True, kw_only=True):
    key: str


class RegistrySessionsRevoked(RegistryLog, frozen=True, kw_only=True):
    session_epoch: int


class RegistrySessionTeamChanged(RegistryLog, frozen=True, kw_only=True):
    key: str
    team: int


class RegistryCapChanged(RegistryLog, frozen=True, kw_only=True):
    bearer: int
    id: int
    word: int


class RegistryCounterpartyRuleChanged(RegistryLog, frozen=True, kw_only=True):
    rule: int


_LOGS: Final[dict[type[Log], Contract]] = {
    Deposited: SETTLEMENT,
    WithdrawalRequested: SETTLEMENT,
    WithdrawalCancelled: SETTLEMENT,
    Withdrawn: SETTLEMENT,
    Cancelled: SETTLEMENT,
    EpochBumped: SETTLEMENT,
    FillSettled: SETTLEMENT,
    RewardPaid: SETTLEMENT,
    FillSkipped: SETTLEMENT,
    BatchSettled: SETTLEMENT,
    MeteredSettled: SETTLEMENT,
    RecordSkipped: SETTLEMENT,
    ReceiptClaimed: SETTLEMENT,
    ClaimExecuted: SETTLEMENT,
    BreachProven: BOND,
    BondDeposited: BONDS,
    BondWithdrawalRequested: BONDS,
    BondWithdrawn: BONDS,
    SolverPenalised: BONDS,
    RegistrySessionGranted: SETTLEMENT,
    RegistrySessionRotated: SETTLEMENT,
    RegistrySessionRevoked: SETTLEMENT,
    RegistrySessionsRevoked: SETTLEMENT,
    RegistrySessionTeamChanged: SETTLEMENT,
    RegistryCapChanged: SETTLEMENT,
    RegistryCounterpartyRuleChanged: SETTLEMENT,
}


def _event_of(log: type[Log], contract: Contract) -> Item:
    return contract.event(log.__name__.removeprefix("Registry"))


def _by_topic() -> dict[bytes, tuple[Item, type[Log]]]:
    table: dict[bytes, tuple[Item, type[Log]]] = {}
    for log, contract in _LOGS.items():
        item = _event_of(log, contract)
        declared = [field.encode_name for field in msgspec.structs.fields(log)]
        if declared != [part.name for part in item.inputs]:
            raise ArtifactFault(f"{log.__name__} has {declared}, the ABI {item.signature}")
        table[item.topic] = (item, log)
    return table


_BY_TOPIC: Final = _by_topic()


def topics_of(contract: Contract) -> tuple[bytes, ...]:
    """First topics of the contract's logs that have a struct here."""
    return tuple(_event_of(log, contract).topic for log in _LOGS if _LOGS[log] is contract)


def topic_of(log: type[Log]) -> bytes:
    """The first topic of a log."""
    return _event_of(log, _LOGS[log]).topic


def decode_log(raw: RawLog) -> Log | None:
    """The struct of a log; None for an event that has none.

    Raises ArtifactFault for a log that carries a known topic in another form.
    """
    known = _BY_TOPIC.get(raw.topics[0]) if raw.topics else None
    if known is None:
        return None
    item, log = known
    try:
        values = item.decode_log(raw.topics, raw.data)
    except DecodingError as error:
        raise ArtifactFault(f"log of {raw.address} in block {raw.block_number}: {error}") from error
    return msgspec.convert({name: _plain(value) for name, value in values.items()}, log)


def revert_reason(data: bytes) -> str:
    """What a revert says, in words: `BatchAlreadySettled(7)`, or its bytes if unknown.

    Whoever is called chooses these bytes, so nothing in them is an error here.
    """
    if not data:
        return "reverted without a reason"
    try:
        known = _known_reason(data[:4], data[4:])
    except (DecodingError, OverflowError, UnicodeDecodeError):
        known = None
    return known or f"unknown error 0x{data[:36].hex()}"


def _known_reason(selector: bytes, data: bytes) -> str | None:
    for contract in (SETTLEMENT, ACCOUNT, FACTORY, USDC, BOND, BONDS):
        item = contract.errors.get(selector)
        if item is not None:
            values = ", ".join(str(_plain(value)) for value in item.decode_inputs(data))
            return f"{item.name}({values})"
    if selector == _ERROR_STRING:
        return str(decode(["string"], data)[0])
    if selector == _PANIC:
        return f"Panic({decode(['uint256'], data)[0]:#x})"
    return None


def _plain(value: Any) -> Any:  # noqa: ANN401  what eth_abi gives
    return "0x" + value.hex() if isinstance(value, bytes) else value
