"""What the people of one world trade: few things, much of each.

Orders for many things seldom meet. A seed draws some of what there is, so that in a short world
they do; another world has the rest.
"""

from random import Random
from typing import Final

import msgspec

from simulations.stream import stream
from simulations.swarm.fault import FaultKind, Faults
from simulations.swarm.person import BY_ANOTHERS_KEY, EVERYWHERE, TWO_KEYS, Person
from simulations.swarm.session_contract import ROOT, TEAM
from simulations.swarm.upstream import CHAT, RERANK, RESOURCES, SEARCH, TRANSLATE
from solver.core.command import Limit

TRADED: Final = (
    (SEARCH,),
    (CHAT,),
    (SEARCH, RERANK),
    (RERANK, TRANSLATE),
    RESOURCES,
)
TIGHT_SHARE: Final = 0.6
"""Of worlds: where keys and offers have windows."""
METERED_SHARE: Final = 0.3
TRADED_BY_RECEIPT: Final = ((SEARCH,), (SEARCH, RERANK), (RERANK,), (SEARCH, CHAT))
TRADED_FOR_BONDS: Final = ((RERANK,), (RERANK, TRANSLATE))
TRADED_BY_KEY: Final = ((SEARCH,), (SEARCH, CHAT))
GIVING_SHARE: Final = 0.75
CREDIT_SHARES: Final = (0.0, 0.1, 0.3)
HASTE: Final = ((0.9, (4, 10, 20, 30)), (2.0, (20, 40, 60)))
"""Pauses, and for how long documents are good. In a hurry a book moves; who has time still trades
when the chain has spoken on what was settled, or on who may sign."""
ENDED: Final = (FaultKind.KEY_REVOKED, FaultKind.ALL_REVOKED)
TAKEN_BACK: Final = ((), ENDED, (*ENDED, FaultKind.CAP_LOWERED))
"""What owners take back: where that is nothing, the chain has no reason to refuse anything."""
BEARERS: Final = 3
"""Of a cap: a key, its team, the account."""
Caps = tuple[int | None, ...]
"""Bearers whose cap may be the small one; None: nobody's is."""
SOME_CAP: Final[Caps] = (0, TEAM, ROOT, None)
MET_CAP: Final[Caps] = (0, TEAM, TEAM, ROOT)
"""Where nothing is taken back."""
NO_CAP: Final[Caps] = (None,)
"""Where keys end: they are to buy something before."""
SLEPT_MS: Final = (120_000, 300_000)
"""After the longer no window of a key's cap holds anything that it held before; after the shorter
all do, some buckets on. Each once in a world: what waits to be settled has ten minutes on chain."""
NAPS_MS: Final = (30_000,) * 2
"""After each what was charged is in another bucket: taken once something was."""
PRICE_ATOMS: Final = 1_000
"""Of a unit, about."""
TIGHT_ATOMS: Final = 2_000
"""A cap that is met by what is bought."""
ONE_PRICE_SHARE: Final = 0.8
"""Of worlds where nothing is taken back: there all ask and pay the same."""
ONE_PRICE_ATOMS: Final = 1_401
"""A cap of three such is counted in fours, rounded up: what was promised to the atom is refused on
chain if it is charged in another bucket than what was bought before."""
SOLVERS: Final = (("sol",), ("sol", "mallory"))
UNLIMITED: Final = ((),)
LIMITED: Final = (
    (Limit(units=4, seconds=10),),
    (Limit(units=3, seconds=2), Limit(units=20, seconds=20)),
)


class Habit(msgspec.Struct, frozen=True, kw_only=True):
    """Of one world."""

    buyers: tuple[Person, ...]
    resources: tuple[str, ...]
    credit_share: float
    """How often something is paid for with credits."""
    pause_s: float
    """Of a buyer, between two things that it does."""
    key_limits: tuple[tuple[Limit, ...], ...]
    """What a seller's key may be limited to."""
    lives_s: tuple[int, ...]
    """For how long documents may be good: short, so that worlds come to an end."""
    has_windows: bool
    """Whether offers have some of their own."""
    solvers: tuple[str, ...]
    """From outside. Whoever is alone is paid what it adds; two that think alike add nothing."""
    gives: bool
    """Whether who has another's key that signs receipts also pays with it beside the market."""
    taken_back: tuple[FaultKind, ...]
    """What owners do right after their keys have signed."""
    tight: int | None
    """Which bearer's cap is so small that it is met."""
    one_price: bool
    """Whether all ask and pay the same, so that the small cap is met to the atom."""
    is_bonded: bool
    """Whether solvers need bonds, and bid with what they sell."""
    is_metered: bool
    """Whether buyers sign receipts: always where faults are about those, or about who signs."""

    @property
    def called(self) -> tuple[str, ...]:
        """What of it is sold by the call."""
        return tuple(name for name in self.resources if name != CHAT)

    @property
    def auctioned(self) -> tuple[str, ...]:
        """What of it is traded in epochs."""
        return tuple(name for name in self.resources if name in (RERANK, TRANSLATE))

    @property
    def sizes(self) -> tuple[int, ...]:
        """Of an intent, in units: where a cap is for three, those that fit."""
        return (1, 1, 2) if self.one_price else (1, 1, 2, 3, 5, 8)

    @property
    def tight_atoms(self) -> int:
        """The small cap."""
        return 3 * ONE_PRICE_ATOMS if self.one_price else TIGHT_ATOMS

    @property
    def generous_atoms(self) -> int:
        """What is offered for a unit that is to be had at once: seldom is more asked."""
        return ONE_PRICE_ATOMS if self.one_price else PRICE_ATOMS * 13 // 10

    @property
    def sleeps_ms(self) -> tuple[int, ...]:
        """How long it is, now and then, that nobody does anything."""
        return NAPS_MS if self.one_price else SLEPT_MS

    def resource(self, random: Random) -> str:
        """Any of them."""
        return random.choice(self.resources)

    def price(self, random: Random, least: int, below: int) -> int:
        """Atoms for a unit: what is usual, and so much more."""
        return ONE_PRICE_ATOMS if self.one_price else PRICE_ATOMS + random.randrange(least, below)

    def rest(self, random: Random, units: int) -> int:
        """Atoms of a limit that are no unit's."""
        return 0 if self.one_price else random.randrange(units)


def habit(seed: int, faults: Faults) -> Habit:
    """The world's of this seed."""
    random = stream(seed, "habit")
    is_tight = random.random() < TIGHT_SHARE and not faults.has("session")
    is_metered = random.random() < METERED_SHARE
    is_metered |= faults.has("metered") or faults.has("session")
    pause_s, lives_s = HASTE[1] if faults.has("session") else random.choice(HASTE)
    is_bonded = faults.has("bond") and not faults.has("session")
    taken_back = random.choice(TAKEN_BACK) if faults.has("session") else ()
    is_faithful = faults.has("session") and not taken_back
    one_price = is_faithful and stream(seed, "price").random() < ONE_PRICE_SHARE
    buyers = _buyers(faults, random, is_faithful=is_faithful)
    traded = random.choice(_traded(faults, is_metered=is_metered))
    return Habit(
        buyers=buyers,
        resources=(SEARCH,) if one_price else traded,
        credit_share=0.0 if is_bonded else random.choice(CREDIT_SHARES),
        key_limits=LIMITED if is_tight else UNLIMITED,
        pause_s=pause_s,
        lives_s=lives_s,
        has_windows=is_tight,
        solvers=random.choice(SOLVERS),
        gives=is_metered and not faults.has("session") and random.random() < GIVING_SHARE,
        taken_back=taken_back,
        tight=random.choice(NO_CAP if taken_back else MET_CAP if is_faithful else SOME_CAP),
        one_price=one_price,
        is_bonded=is_bonded,
        is_metered=is_metered,
    )


def _buyers(faults: Faults, random: Random, *, is_faithful: bool) -> tuple[Person, ...]:
    """Few, where caps are to be met."""
    if not faults.has("session"):
        return EVERYWHERE
    return TWO_KEYS if is_faithful else random.choice(BY_ANOTHERS_KEY)


def _traded(faults: Faults, *, is_metered: bool) -> tuple[tuple[str, ...], ...]:
    """What may be: of upstreams that go wrong rather what is answered in tokens."""
    may_be: tuple[tuple[str, ...], ...]
    if faults.has("session"):
        may_be = TRADED_BY_KEY
    elif faults.has("bond"):
        may_be = TRADED_FOR_BONDS
    else:
        may_be = TRADED_BY_RECEIPT if is_metered else TRADED
    in_tokens = tuple(each for each in may_be if CHAT in each and faults.has("upstream"))
    return in_tokens or may_be
