"""What a person should see, for as long as it is so."""

from collections.abc import Callable
from typing import Final

import msgspec
import structlog

_log = structlog.get_logger()


class Alarm(msgspec.Struct, frozen=True, kw_only=True):
    """Something that a person should see. Names are fixed, reasons are words."""

    name: str
    batch: int
    reason: str


def log_alarm(alarm: Alarm) -> None:
    """The default: an error in the log."""
    _log.error(alarm.name, batch=alarm.batch, reason=alarm.reason)


class Alarms:
    """One for each name and batch; each is told once, and again when its reason changes."""

    def __init__(self, on_alarm: Callable[[Alarm], None] = log_alarm) -> None:
        self._on_alarm = on_alarm
        self.standing: Final[dict[tuple[str, int], Alarm]] = {}

    def tell(self, name: str, number: int, reason: str) -> None:
        """It is so now."""
        alarm = Alarm(name=name, batch=number, reason=reason)
        if self.standing.get((name, number)) != alarm:
            self.standing[(name, number)] = alarm
            self._on_alarm(alarm)

    def forget(self, name: str, number: int) -> None:
        """It is not so any more."""
        self.standing.pop((name, number), None)

    def forget_all(self, number: int) -> None:
        """The batch needs nothing more."""
        for key in [key for key in self.standing if key[1] == number]:
            del self.standing[key]
