"""The machine's clock, which may be wrong, and virtual time, which never is."""

from typing import Final

from simulations.swarm.loop import VirtualLoop

START_MS: Final = 1_800_000_000_000
HOUR_MS: Final = 3_600_000


class MachineClock:
    """A clock that can be set, stopped and set back; the engine's clock port."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self._offset_ms = self._slept_ms = 0
        self._frozen_ms: int | None = None

    def true_ms(self) -> int:
        """What a right clock shows."""
        return START_MS + self._slept_ms + int(self._loop.now_s * 1_000)

    def now_ms(self) -> int:
        """What this clock shows."""
        if self._frozen_ms is not None:
            return self._frozen_ms
        return self.true_ms() + self._offset_ms

    def sleep(self, for_ms: int) -> None:
        """Time goes by in which nobody does anything: all clocks show it, the chain's too."""
        self._slept_ms += for_ms

    def step(self, by_ms: int) -> None:
        """Somebody sets it."""
        self._offset_ms += by_ms
        if self._frozen_ms is not None:
            self._frozen_ms += by_ms

    def freeze(self) -> None:
        """It stands still."""
        self._frozen_ms = self.now_ms()

    def thaw(self) -> None:
        """It goes on from where it stood, or jumps to where it would be; it goes on."""
        if self._frozen_ms is not None:
            self._offset_ms = self._frozen_ms - self.true_ms()
            self._frozen_ms = None

    def catch_up(self, market_ms: int) -> None:
        """The faults are over: it goes, and is not behind what the market has seen."""
        self.thaw()
        self._offset_ms = max(self._offset_ms, market_ms - self.true_ms())
