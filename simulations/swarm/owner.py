"""What an account's owner does on chain about who may sign for it, wisely or not."""

from typing import Final

from intents.policy import Permission
from simulations.swarm.chain import Chain
from simulations.swarm.fault import FaultKind, Faults
from simulations.swarm.habit import BEARERS, TIGHT_ATOMS, Habit
from simulations.swarm.person import HEIR, KAI, Person
from simulations.swarm.session_contract import ROOT, TEAM
from solver.core.command import Authority

TEAM_NUMBER: Final = 1
PERIOD_S: Final = 240
"""The shortest: a bucket of it ends every half minute."""
WIDE: Final = 40_000
"""A cap that is not met. In most worlds another, a key's, its team's or the account's, is."""
GRANTED_ABOVE: Final = 0.3
"""Of ten choices seven are another grant."""
LIFE_S: Final = 7_200


class Owner:
    """Of one person's account."""

    def __init__(self, person: Person, chain: Chain, faults: Faults, habit: Habit) -> None:
        self._person = person
        self._chain = chain
        self._faults = faults
        self._habit = habit
        self.has_taken_back = False
        """Whether it ended the key that it signs with, by its own doing and until it renews it."""

    @property
    def pen(self) -> Person:
        """Who signs for the account, as of the newest block."""
        if self._person.authority is not Authority.CONTRACT:
            return self._person
        owner = self._chain.head.ledger.owners.get(self._person.account)
        return HEIR if owner == HEIR.key.address else KAI

    def begin(self) -> None:
        """Let the key act, under caps of its own, its team and the account; or own the account."""
        if self._person.is_session:
            tight = self._habit.tight_atoms
            caps = [tight if self._habit.tight == bearer else WIDE for bearer in range(BEARERS)]
            self._set_cap(TEAM, caps[TEAM])
            self._set_cap(ROOT, caps[ROOT])
            self._grant(caps[0])
        elif self._person.authority is Authority.CONTRACT:
            self._act("own", owner=KAI.key.address)

    def renew(self) -> None:
        """Let a key that can act no more, or not for much, act as it did in the beginning."""
        head, key = self._chain.head, self._person.key.address
        is_live = head.ledger.is_live(self._person.account, key, Permission.SIGN, head.time_s)
        if self.has_taken_back or not is_live:
            self.has_taken_back = False
            self.begin()

    def change(self, choice: float) -> None:
        """Revoke the key or grant it anew, sometimes with worse terms; or hand the account on."""
        if self._person.authority is Authority.CONTRACT:
            self._hand_on()
        elif choice < GRANTED_ABOVE:
            self._take_back("revoke", key=self._person.key.address)
        else:
            self._grant(WIDE >> int(choice * 10) % 4)

    def betray(self) -> None:
        """Take back what was just signed, before it is settled, in one way or another."""
        if self._person.authority is Authority.CONTRACT:
            if self._faults.strike(FaultKind.OWNER_CHANGED):
                self._hand_on()
        elif self._habit.taken_back:
            kind = self._habit.taken_back[self._chain.head.number % len(self._habit.taken_back)]
            if self._person.is_session and self._faults.strike(kind):
                self._take_away(kind)

    def _take_away(self, kind: FaultKind) -> None:
        match kind:
            case FaultKind.KEY_REVOKED:
                self._take_back("revoke", key=self._person.key.address)
            case FaultKind.ALL_REVOKED:
                self._take_back("revoke_all")
            case _:
                self._set_cap(ROOT if self._chain.head.number % 2 else TEAM, TIGHT_ATOMS // 2)

    def make_up(self) -> None:
        """In the end the key may sign for all that is owed."""
        if self._person.is_session:
            self._set_cap(TEAM, 10 * WIDE)
            self._set_cap(ROOT, 10 * WIDE)
            self._grant(10 * WIDE)

    def _hand_on(self) -> None:
        """The contract answers for another key from now on, and for this one no more."""
        heir = HEIR if self.pen is KAI else KAI
        self._act("own", owner=heir.key.address)

    def _grant(self, cap: int) -> None:
        receipts = Permission.RECEIPT if self._person.signs_receipts else 0
        self._act(
            "grant",
            key=self._person.key.address,
            permissions=Permission.SIGN | receipts,
            expires_at=self._chain.head.time_s + LIFE_S,
            team=TEAM_NUMBER,
            cap=cap,
            period=PERIOD_S,
        )

    def _set_cap(self, bearer: int, cap: int) -> None:
        team = TEAM_NUMBER if bearer == TEAM else 0
        self._act("cap", team=team, cap=cap, period=PERIOD_S)

    def _take_back(self, name: str, **terms: str) -> None:
        self.has_taken_back = True
        self._act(name, **terms)

    def _act(self, name: str, **terms: object) -> None:
        self._chain.act(name, self._person.account, **terms)
