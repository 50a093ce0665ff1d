"""Every fault that can strike a world, and how likely each is in the world of one seed.

Swarm testing: a seed draws which classes of faults exist at all, then a rate for each kind.
Some worlds have no fault of a class, some have one class only, and a few have none.
"""

from collections.abc import Callable
from enum import StrEnum
from random import Random
from typing import Final

from simulations.stream import stream


class FaultKind(StrEnum):
    """What can go wrong; the part before the dot is its class."""

    CRASH_AT_AWAIT = "process.crash_at_await"
    CRASH_IN_WRITE = "process.crash_in_write"
    CRASH_AFTER_WRITE = "process.crash_after_write"
    CRASH_BEFORE_SEND = "process.crash_between_record_and_send"
    PAUSE = "process.pause"

    TORN_WRITE = "disk.torn_write"
    UNSYNCED_LOST = "disk.unsynced_lost"
    DISK_FULL = "disk.full"
    WRITE_ERROR = "disk.write_error"
    SYNC_ERROR = "disk.sync_error"
    BIT_FLIP = "disk.bit_flip"
    TRUNCATED_TAIL = "disk.truncated_tail"
    OLD_SNAPSHOT = "disk.old_snapshot"
    DAMAGED_SNAPSHOT = "disk.damaged_snapshot"

    CLOCK_SKEW = "clock.skew"
    CLOCK_FREEZE = "clock.freeze"
    CLOCK_BACKWARDS = "clock.backwards"

    DROP = "message.drop"
    DUPLICATE = "message.duplicate"
    REORDER = "message.reorder"
    DELAY = "message.delay_past_epoch"
    REPLAY = "message.replay"

    TX_DROPPED = "chain.dropped"
    TX_DUPLICATED = "chain.duplicated"
    TX_REPLACED = "chain.replaced"
    TX_STUCK = "chain.stuck"
    TX_REVERTED = "chain.reverted"
    REORG = "chain.reorg"
    RPC_TIMEOUT = "chain.rpc_timeout"
    STALE_HEAD = "chain.stale_head"
    UNKNOWN_SEND = "chain.unknown_outcome_of_send"
    DUPLICATE_FACTS = "chain.duplicate_facts"
    LATE_FACTS = "chain.late_facts"

    LIMITED = "upstream.limited"
    REFUSED = "upstream.key_refused"
    SERVER_ERROR = "upstream.server_error"
    UNREACHABLE = "upstream.unreachable"
    TIMEOUT_BEFORE = "upstream.timeout_before_bytes"
    TIMEOUT_AFTER = "upstream.timeout_after_bytes"
    RESET = "upstream.reset_mid_stream"
    WRONG_USAGE = "upstream.wrong_usage"
    KEY_ECHOED = "upstream.key_echoed"

    MUTATED_SOLUTION = "solver.mutated_solution"
    LATE_SOLUTION = "solver.late"
    OVERSIZE_SOLUTION = "solver.oversize"

    MALFORMED = "input.malformed"
    BAD_SIGNATURE = "input.bad_signature"
    REPLAYED_DOCUMENT = "input.replayed"
    WRONG_EPOCH = "input.wrong_epoch"
    USED_NONCE = "input.used_nonce"
    FOREIGN_DOCUMENT = "input.not_the_owner"

    INBOX_FULL = "load.inbox_full"

    TWO_ENGINES = "operator.two_engines_on_one_journal"

    LEFT_UNSIGNED = "metered.left_unsigned"
    SIGNED_LATE = "metered.signed_late"
    OLD_RECEIPT = "metered.old_receipt"
    WRONG_RECEIPT = "metered.wrong_receipt"
    SIGNED_AWAY = "metered.signed_away"
    CLAIMED = "metered.claimed_by_seller"
    CRASH_AT_RECEIPT = "metered.crash_at_receipt"

    KEY_REVOKED = "session.revoked_after_signing"
    ALL_REVOKED = "session.all_revoked_after_signing"
    CAP_LOWERED = "session.cap_lowered_after_signing"
    CAP_REACHED = "session.cap_reached"
    OWNER_CHANGED = "session.owner_changed_after_signing"
    WINDOW_ROLLED = "session.window_rolled"
    GRANT_UNDONE = "session.undone_by_reorg"

    UNDELIVERED = "bond.key_lost_after_winning"
    ASKED_BACK = "bond.asked_back_after_winning"
    PENALTY_DROPPED = "bond.penalty_dropped"
    PENALTY_UNDONE = "bond.penalty_undone_by_reorg"

    @property
    def family(self) -> str:
        """The class that it is drawn with."""
        return self.value.partition(".")[0]


FAMILIES: Final = tuple(dict.fromkeys(kind.family for kind in FaultKind))

RATES: Final[dict[FaultKind, float]] = {
    FaultKind.CRASH_AT_AWAIT: 0.0008,
    FaultKind.CRASH_IN_WRITE: 0.004,
    FaultKind.CRASH_AFTER_WRITE: 0.004,
    FaultKind.CRASH_BEFORE_SEND: 0.5,
    FaultKind.PAUSE: 0.02,
    FaultKind.TORN_WRITE: 0.004,
    FaultKind.UNSYNCED_LOST: 0.01,
    FaultKind.DISK_FULL: 0.003,
    FaultKind.WRITE_ERROR: 0.003,
    FaultKind.SYNC_ERROR: 0.003,
    FaultKind.BIT_FLIP: 0.5,
    FaultKind.TRUNCATED_TAIL: 0.0,
    FaultKind.OLD_SNAPSHOT: 0.3,
    FaultKind.DAMAGED_SNAPSHOT: 0.3,
    FaultKind.CLOCK_SKEW: 0.02,
    FaultKind.CLOCK_FREEZE: 0.02,
    FaultKind.CLOCK_BACKWARDS: 0.02,
    FaultKind.DROP: 0.05,
    FaultKind.DUPLICATE: 0.2,
    FaultKind.REORDER: 0.2,
    FaultKind.DELAY: 0.05,
    FaultKind.REPLAY: 0.1,
    FaultKind.TX_DROPPED: 0.2,
    FaultKind.TX_DUPLICATED: 0.1,
    FaultKind.TX_REPLACED: 0.35,
    FaultKind.TX_STUCK: 0.9,
    FaultKind.TX_REVERTED: 0.5,
    FaultKind.REORG: 0.1,
    FaultKind.RPC_TIMEOUT: 0.05,
    FaultKind.STALE_HEAD: 0.1,
    FaultKind.UNKNOWN_SEND: 0.35,
    FaultKind.DUPLICATE_FACTS: 0.2,
    FaultKind.LATE_FACTS: 0.1,
    FaultKind.LIMITED: 0.1,
    FaultKind.REFUSED: 0.06,
    FaultKind.SERVER_ERROR: 0.1,
    FaultKind.UNREACHABLE: 0.05,
    FaultKind.TIMEOUT_BEFORE: 0.05,
    FaultKind.TIMEOUT_AFTER: 0.08,
    FaultKind.RESET: 0.08,
    FaultKind.WRONG_USAGE: 3.0,
    FaultKind.KEY_ECHOED: 0.1,
    FaultKind.MUTATED_SOLUTION: 0.7,
    FaultKind.LATE_SOLUTION: 0.2,
    FaultKind.OVERSIZE_SOLUTION: 0.15,
    FaultKind.MALFORMED: 0.1,
    FaultKind.BAD_SIGNATURE: 0.1,
    FaultKind.REPLAYED_DOCUMENT: 0.2,
    FaultKind.WRONG_EPOCH: 0.05,
    FaultKind.USED_NONCE: 0.1,
    FaultKind.FOREIGN_DOCUMENT: 0.5,
    FaultKind.INBOX_FULL: 0.02,
    FaultKind.TWO_ENGINES: 0.15,
    FaultKind.LEFT_UNSIGNED: 0.2,
    FaultKind.SIGNED_LATE: 0.5,
    FaultKind.OLD_RECEIPT: 0.2,
    FaultKind.WRONG_RECEIPT: 0.9,
    FaultKind.SIGNED_AWAY: 0.05,
    FaultKind.CLAIMED: 0.5,
    FaultKind.CRASH_AT_RECEIPT: 0.2,
    FaultKind.KEY_REVOKED: 0.6,
    FaultKind.ALL_REVOKED: 0.6,
    FaultKind.CAP_LOWERED: 0.3,
    FaultKind.CAP_REACHED: 0.5,
    FaultKind.OWNER_CHANGED: 0.3,
    FaultKind.WINDOW_ROLLED: 0.06,
    FaultKind.GRANT_UNDONE: 0.5,
    FaultKind.UNDELIVERED: 1.5,
    FaultKind.ASKED_BACK: 0.5,
    FaultKind.PENALTY_DROPPED: 0.2,
    FaultKind.PENALTY_UNDONE: 0.9,
}
"""The middle rate of each kind, per opportunity: a write, a message, a block, a call …"""

NEVER: Final = 2**62
CALM_WORLDS: Final = 0.05
SINGLE_CLASS_WORLDS: Final = 0.25
CLASS_PRESENT: Final = (0.15, 0.3, 0.5)
"""Of a world with more than one: few classes, so that people get something done, or many."""
PEOPLE_PRESENT: Final = {"metered": 0.5, "session": 0.6, "bond": 0.8}
"""Classes of what people do: these stand in nobody's way, and most worlds are to have one. Solvers
need no bonds where keys come and go, so that half of the last are for nothing."""


class Faults:
    """The dice of one world. `count` says how often each kind really struck."""

    def __init__(self, seed: int) -> None:
        random = stream(seed, "weather")
        self._dice: Final = stream(seed, "faults")
        self._rates: Final = _rates(random)
        self.families: Final = tuple(dict.fromkeys(kind.family for kind in self._rates))
        self.count: Final[dict[FaultKind, int]] = {}
        self.active = True
        self.on_strike: Callable[[FaultKind], None] = lambda _: None

    def strike(self, kind: FaultKind) -> bool:
        """Whether this kind strikes at this opportunity; counted if it does."""
        if not self.may(kind):
            return False
        self.note(kind)
        return True

    def may(self, kind: FaultKind) -> bool:
        """Like `strike`, for a caller that still has to see whether it can; it then notes it."""
        rate = self._rates.get(kind)
        return rate is not None and self.active and self._dice.random() < rate

    def note(self, kind: FaultKind) -> None:
        """Count a fault that struck."""
        self.count[kind] = self.count.get(kind, 0) + 1
        self.on_strike(kind)

    def gap(self, kind: FaultKind) -> int:
        """How many opportunities pass before this kind strikes; for those that are too many."""
        rate = self._rates.get(kind)
        return int(self._dice.expovariate(rate)) + 1 if rate else NEVER

    def has(self, family: str) -> bool:
        """Whether this world knows faults of this class."""
        return family in self.families


def _rates(random: Random) -> dict[FaultKind, float]:
    draw = random.random()
    if draw < CALM_WORLDS:
        return {}
    if draw < CALM_WORLDS + SINGLE_CLASS_WORLDS:
        present = {random.choice(FAMILIES)}
    else:
        share = random.choice(CLASS_PRESENT)
        present = {
            family for family in FAMILIES if random.random() < PEOPLE_PRESENT.get(family, share)
        }
    # The scale is drawn for absent kinds too: one class more leaves the others' rates alone.
    scaled = {kind: rate * random.choice((0.3, 1.0, 3.0)) for kind, rate in RATES.items()}
    return {
        # Answers in tokens are few, and a wrong count of one stops nothing: each may be.
        kind: min(rate, 1.0 if kind is FaultKind.WRONG_USAGE else 0.9)
        for kind, rate in scaled.items()
        if kind.family in present
    }
