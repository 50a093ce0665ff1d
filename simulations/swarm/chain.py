"""A chain with a pool, reorganisations and finality, as far as a market can see one."""

from collections.abc import Callable
from random import Random
from typing import Any, Final

import msgspec
from tiny_keccak import keccak256

from contracts.metered import book_code
from simulations.swarm.bond_contract import EXECUTE
from simulations.swarm.calldata import Revert
from simulations.swarm.contract import Ledger
from simulations.swarm.fault import FaultKind, Faults
from simulations.swarm.person import LIBRARIAN, OPERATOR, OWNER
from simulations.swarm.session_contract import Log

BLOCK_S: Final = 1
AGE_S: Final = 60
FINALITY_BLOCKS: Final = 10
REORG_BLOCKS_MAX: Final = 8
BASE_FEE_WEI: Final = 10**9
GAS_USED: Final = 300_000
POOL_MAX: Final = 64
BUMP_PERCENT: Final = 110
ABOUT_KEYS: Final = frozenset({"grant", "revoke", "revoke_all", "cap", "own"})
"""Acts about who may sign for an account."""
_BOOK_HEAD: Final = 11
"""Bytes before the first account: what copies the code, and the STOP that it begins with."""
Place = tuple[str, int]
"""A sender and its nonce."""
_SHORT_MAX: Final = 55
_SINGLE_BYTE_END: Final = 0x80


class Transaction(msgspec.Struct, frozen=True, kw_only=True):
    """Signed bytes of one of the operator's keys, decoded."""

    hash: str
    sender: str
    nonce: int
    max_wei: int
    tip_wei: int
    gas: int
    data: bytes

    @property
    def place(self) -> Place:
        """What only one transaction can have."""
        return self.sender, self.nonce

    @property
    def creates(self) -> str:
        """The address of the book that it creates; empty if it calls something."""
        if self.sender != LIBRARIAN.address or not self.data:
            return ""
        return "0x" + keccak256(f"{self.sender}:{self.nonce}".encode())[12:].hex()


class Act(msgspec.Struct, frozen=True, kw_only=True):
    """A transaction of a client's own wallet: a call of the contract."""

    name: str
    account: str
    terms: dict[str, Any]


class Mined(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a transaction in its block."""

    transaction: Transaction
    succeeded: bool


class ChainBlock(msgspec.Struct, frozen=True, kw_only=True):
    """A block and everything that is true after it."""

    number: int
    hash: str
    time_s: int
    nonces: dict[str, int]
    """By sender, the next that it has."""
    ledger: Ledger
    logs: tuple[tuple[Log, str], ...] = ()
    """Each with the hash of its transaction."""
    mined: tuple[Mined, ...] = ()
    acts: tuple[Act, ...] = ()


class PoolRefused(Exception):
    """The node's words."""


class Chain:
    """`mine` makes the next block; faults decide what of the pool gets into it."""

    def __init__(
        self,
        ledger: Ledger,
        faults: Faults,
        random: Random,
        now_s: Callable[[], int],
    ) -> None:
        self._faults = faults
        self._random = random
        self._now_s = now_s
        self._salt = 0
        self.pool: dict[Place, Transaction] = {}
        self._acts: list[Act] = []
        self._stuck: dict[str, int] = {}
        self._seen: list[bytes] = []
        self.blocks: list[ChainBlock] = [
            ChainBlock(
                number=0,
                hash=self._hash(0),
                time_s=now_s() - AGE_S,
                nonces={key.address: 0 for key in (OPERATOR, LIBRARIAN, OWNER)},
                ledger=ledger,
            )
        ]

    @property
    def head(self) -> ChainBlock:
        """The newest block."""
        return self.blocks[-1]

    @property
    def final(self) -> ChainBlock:
        """The newest block that stays."""
        return self.blocks[max(0, self.head.number - FINALITY_BLOCKS)]

    @property
    def is_settled(self) -> bool:
        """Nothing waits to be mined or to become final."""
        recent = self.blocks[self.final.number + 1 :]
        return not self.pool and not self._acts and not any(block.logs for block in recent)

    @property
    def tells_of_keys(self) -> bool:
        """Whether an owner did something about keys in the newest block."""
        return any(act.name in ABOUT_KEYS for act in self.head.acts)

    @property
    def tells_of_penalties(self) -> bool:
        """Whether the operator's owner took one in the newest block."""
        return any(entry.transaction.sender == OWNER.address for entry in self.head.mined)

    # ---------------------------------------------------------------- what is sent

    def act(self, name: str, account: str, **terms: Any) -> None:  # noqa: ANN401
        """A client's wallet sends; its wallet sees to it that it is mined."""
        if len(self._acts) < POOL_MAX:
            self._acts.append(Act(name=name, account=account, terms=terms))

    def send(self, raw: bytes) -> None:
        """Offer signed bytes. Raises PoolRefused with a node's words."""
        transaction = decode(raw)
        if transaction.nonce < self.head.nonces[transaction.sender]:
            raise PoolRefused("nonce too low")
        old = self.pool.get(transaction.place)
        if old is not None and old.hash == transaction.hash:
            raise PoolRefused("already known")
        if transaction.max_wei < BASE_FEE_WEI:
            raise PoolRefused("max fee per gas less than block base fee")
        if old is not None and (
            transaction.max_wei * 100 < old.max_wei * BUMP_PERCENT
            or transaction.tip_wei * 100 < old.tip_wei * BUMP_PERCENT
        ):
            raise PoolRefused("replacement transaction underpriced")
        if len(self.pool) < POOL_MAX:
            self.pool[transaction.place] = transaction
            self._seen.append(raw)

    # ---------------------------------------------------------------- blocks

    def mine(self, time_s: int = 0) -> None:
        """Make a block of what waits, now or at another time."""
        self._disturb()
        parent = self.head
        ledger, logs, nonces = parent.ledger, [], dict(parent.nonces)
        mined: list[Mined] = []
        time_s = max(time_s or self._now_s(), parent.time_s + 1)
        acts, self._acts = tuple(self._acts), []
        chosen = [each for sender in nonces for each in self._chosen(sender, nonces[sender])]
        if acts or chosen:
            ledger = ledger.copy()
            ledger.number = parent.number + 1
        number = parent.number + 1
        block_hash = self._hash(number)
        for act in acts:
            found = ledger.act(act.name, act.account, time_s, **act.terms)
            logs += [(log, block_hash) for log in found]
        for transaction in chosen:
            nonces[transaction.sender] += 1
            succeeded, found = self._execute(ledger, transaction, time_s)
            logs += [(log, transaction.hash) for log in found]
            mined.append(Mined(transaction=transaction, succeeded=succeeded))
        self.blocks.append(
            ChainBlock(
                number=number,
                hash=block_hash,
                time_s=time_s,
                nonces=nonces,
                ledger=ledger,
                logs=tuple(logs),
                mined=tuple(mined),
                acts=acts,
            )
        )

    def reorganise(self, depth: int, *, forgets_keys: bool = False) -> None:
        """Forget the newest blocks and mine as many others.

        `forgets_keys`: what owners did about keys is in none of them, and is not sent again.
        """
        depth = min(depth, self.head.number - self.final.number - 1)
        if depth < 1:
            return
        gone = self.blocks[-depth:]
        del self.blocks[-depth:]
        acts = [act for block in gone for act in block.acts]
        if forgets_keys:
            acts = [act for act in acts if act.name not in ABOUT_KEYS]
        self._acts = acts + self._acts
        for block in gone:
            for entry in block.mined:
                # The pool may remember what was mined, or not.
                if self._random.random() < 0.5:  # noqa: PLR2004  a coin
                    self.pool.setdefault(entry.transaction.place, entry.transaction)
        for _ in range(depth):
            self.mine()

    def find(self, transaction_hash: str) -> tuple[ChainBlock, Mined] | None:
        """Where a transaction was mined."""
        for block in reversed(self.blocks):
            for entry in block.mined:
                if entry.transaction.hash == transaction_hash:
                    return block, entry
        return None

    def simulate(self, data: bytes, block: ChainBlock) -> None:
        """Settle on a copy, as the next block would. Raises Revert."""
        trial = block.ledger.copy()
        trial.number = block.number + 1
        trial.settle(data, max(self._now_s(), block.time_s))

    def _execute(
        self, ledger: Ledger, transaction: Transaction, time_s: int
    ) -> tuple[bool, list[Log]]:
        if not transaction.data or self._faults.strike(FaultKind.TX_REVERTED):
            return not transaction.data, []
        if transaction.creates:
            ledger.books[transaction.creates] = _listed(transaction.data)
            return True, []
        trial = ledger.copy()
        try:
            logs = trial.settle(transaction.data, time_s)
        except Revert:
            return False, []
        for name in vars(trial):
            setattr(ledger, name, getattr(trial, name))
        return True, logs

    def _chosen(self, sender: str, nonce: int) -> list[Transaction]:
        chosen = []
        while (transaction := self.pool.get((sender, nonce))) is not None:
            if self._stuck.get(transaction.hash, 0) > self.head.number:
                break
            del self.pool[transaction.place]
            chosen.append(transaction)
            nonce += 1
        for stale in [old for old in self.pool if old[0] == sender and old[1] < nonce]:
            del self.pool[stale]
        return chosen

    def _disturb(self) -> None:
        """What happens to a pool."""
        strike = self._faults.strike
        for place, transaction in list(self.pool.items()):
            if transaction.hash not in self._stuck:
                stuck = strike(FaultKind.TX_STUCK)
                wait = self._random.randint(2, 12) if stuck else 0
                self._stuck[transaction.hash] = self.head.number + wait
            if strike(FaultKind.TX_DROPPED) or (
                transaction.sender == OWNER.address and strike(FaultKind.PENALTY_DROPPED)
            ):
                del self.pool[place]
            elif self._is_next(transaction) and strike(FaultKind.TX_REPLACED):
                # Somebody uses the same key by hand.
                self.pool[place] = _alien(transaction)
        if self._seen and self._faults.may(FaultKind.TX_DUPLICATED):
            self._faults.note(FaultKind.TX_DUPLICATED)
            try:
                self.send(self._random.choice(self._seen))
            except PoolRefused:
                return

    def _is_next(self, transaction: Transaction) -> bool:
        return transaction.nonce == self.head.nonces[transaction.sender]

    def _hash(self, number: int) -> str:
        self._salt += 1
        return "0x" + keccak256(f"{number}:{self._salt}".encode()).hex()


def _alien(old: Transaction) -> Transaction:
    hashed = "0x" + keccak256(b"alien" + old.hash.encode()).hex()
    return msgspec.structs.replace(old, hash=hashed, max_wei=2 * old.max_wei, gas=21_000, data=b"")


def _listed(creation: bytes) -> tuple[str, ...]:
    """The accounts of the address book that this creates; none if it creates something else."""
    raw = creation[_BOOK_HEAD:]
    accounts = tuple("0x" + raw[start : start + 20].hex() for start in range(0, len(raw), 20))
    return accounts if accounts and creation == book_code(accounts) else ()


def decode(raw: bytes) -> Transaction:
    """An EIP-1559 transaction from its bytes."""
    fields = _items(raw[1:])
    number = [int.from_bytes(field, "big") for field in fields[:5]]
    return Transaction(
        hash="0x" + keccak256(raw).hex(),
        sender=_sender_of(fields[5], fields[7]),
        nonce=number[1],
        tip_wei=number[2],
        max_wei=number[3],
        gas=number[4],
        data=fields[7],
    )


def _sender_of(to: bytes, data: bytes) -> str:
    """Only books are created, and only the librarian creates; only the owner executes."""
    if not to:
        return LIBRARIAN.address
    return OWNER.address if data[:4] == EXECUTE.selector else OPERATOR.address


def _items(raw: bytes) -> list[bytes]:
    """The items of an RLP list of byte strings; inner lists come as their bytes."""
    at, end = _payload(raw, 0, 0xC0)
    found = []
    while at < end:
        lead = raw[at]
        if lead < _SINGLE_BYTE_END:
            found.append(raw[at : at + 1])
            at += 1
            continue
        start, stop = _payload(raw, at, 0x80 if lead < 0xC0 else 0xC0)  # noqa: PLR2004  RLP
        found.append(raw[start:stop])
        at = stop
    return found


def _payload(raw: bytes, at: int, offset: int) -> tuple[int, int]:
    size = raw[at] - offset
    if size <= _SHORT_MAX:
        return at + 1, at + 1 + size
    width = size - _SHORT_MAX
    length = int.from_bytes(raw[at + 1 : at + 1 + width], "big")
    return at + 1 + width, at + 1 + width + length
