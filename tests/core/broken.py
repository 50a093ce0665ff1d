"""What the invariants say of a market in which one number after the other is wrong.

`python -m tests.core.broken` says where they come from, then each one's name, in one line.
"""

from collections.abc import Callable
from typing import Final

from solver.core import invariant
from solver.core.check import Violation
from solver.core.invariant import check_all
from solver.core.state import State
from tests.core.floor import a_walk

SEED: Final = 3
STEPS: Final = 200


def _hold_an_atom_too_much(state: State) -> None:
    next(iter(state.intents.values())).order.money.debits_pending += 1


def _forget_a_fill(state: State) -> None:
    next(one for one in state.intents.values() if one.filled_units).filled_units -= 1


def _sign_fewer_units(state: State) -> None:
    next(iter(state.offers.values())).units -= 1


def _owe_an_atom_more(state: State) -> None:
    next(iter(state.leases.values())).held += 1


def _count_a_lease_too_much(state: State) -> None:
    next(iter(state.intents.values())).serving += 1


def _stand_twice(state: State) -> None:
    next(iter(state.accounts.values())).standing_count += 1


MISTAKES: Final[tuple[Callable[[State], None], ...]] = (
    _hold_an_atom_too_much,
    _forget_a_fill,
    _sign_fewer_units,
    _owe_an_atom_more,
    _count_a_lease_too_much,
    _stand_twice,
)


def said_of_mistakes() -> list[str]:
    """The name under which each mistake is found; "nothing" where it is not."""
    return [_said_of(mistake) for mistake in MISTAKES]


def _said_of(mistake: Callable[[State], None]) -> str:
    state = a_walk(SEED, STEPS).market.state
    check_all(state)
    mistake(state)
    try:
        check_all(state)
    except Violation as violation:
        return violation.name
    return "nothing"


if __name__ == "__main__":
    print(invariant.__file__)  # noqa: T201
    print(*said_of_mistakes())  # noqa: T201
