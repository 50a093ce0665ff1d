"""A walk that is carried on by another market: one that was loaded from the first one's bytes."""

from random import Random
from typing import Final

from intents.reject import Reject
from solver.core.command import Command
from solver.core.event import Event
from solver.core.invariant import check_all
from solver.core.market import Market
from solver.core.snapshot import dump, load
from solver.core.window import Window
from tests.builder import USDC
from tests.core.floor import ACTIONS, WEIGHTS, Floor, finish

COMMANDS_BETWEEN_LOADS: Final = 25


class Relay(Floor):
    """After random commands the second market is loaded anew; both must then do the same."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)  # noqa: S311  test data
        self._second: Market | None = None
        self.loads = 0
        super().__init__()

    def _apply(self, command: Command) -> list[Event] | Reject:
        result = super()._apply(command)
        if self._second is not None:
            assert self._second.apply(command) == result, "a loaded market says the same"
        if not self._random.randrange(COMMANDS_BETWEEN_LOADS):
            self._load()
        return result

    def _load(self) -> None:
        """The second market has to stand where the first one stands; then it is a new one."""
        state = self.market.state
        image = dump(state)
        if self._second is not None:
            assert self._second.state.hash() == state.hash(), "and comes to the same state"
        loaded = load(image)
        assert dump(loaded) == image, "nothing is lost on the way"
        check_all(loaded)
        shared: dict[str, list[Window]] = {}
        for (subject, _), windows in loaded.windows.items():
            assert shared.setdefault(subject, windows) is windows, "resources share their windows"
        self._second = Market(USDC, loaded)
        self.loads += 1

    def closing(self) -> None:
        """Both end, in the same state."""
        super().closing()
        self._load()


def a_relay(seed: int, steps: int) -> Relay:
    """A random walk with loads on the way, closed at its end."""
    random = Random(seed)  # noqa: S311  test data
    relay = Relay(seed)
    names = list(ACTIONS)
    weights = [WEIGHTS.get(name, 1) for name in names]
    for name in random.choices(names, weights, k=steps):
        getattr(relay, name)(*(random.randint(low, high) for low, high in ACTIONS[name]))
    finish(relay)
    return relay
