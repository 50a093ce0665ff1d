"""What can go wrong between a client and the market.

MarketFault
├── Rejected      the market said no: `code`, `message`, `hint`, `status`
│   └── NotFilled an intent ended before it was filled as far as was waited for
├── NotOwed       the market asks for a signature over more than was used
├── Unreachable   no answer came; for what is not safe to repeat, nobody knows
└── Unexpected    an answer that is none of this API's
"""

from typing import Final


class MarketFault(Exception):
    """Anything below."""


class Rejected(MarketFault):
    """The market refused. `code` is stable and is what to branch on."""

    def __init__(
        self,
        code: str,
        message: str,
        hint: str = "",
        *,
        status: int = 0,
        retry_after_ms: int | None = None,
    ) -> None:
        super().__init__(f"{code}: {message}" + (f" ({hint})" if hint else ""))
        self.code: Final = code
        self.message: Final = message
        self.hint: Final = hint
        self.status: Final = status
        self.retry_after_ms: Final = retry_after_ms


class NotFilled(Rejected):
    """The intent ended with fewer units than were waited for; `filled_units` were."""

    def __init__(self, status: str, filled_units: int) -> None:
        super().__init__(f"intent_{status}", f"it ended with {filled_units} units filled")
        self.filled_units: Final = filled_units


class NotOwed(MarketFault):
    """What the market wants signed is not what our own count says; nothing was signed."""


class Unreachable(MarketFault):
    """No answer came."""


class Unexpected(MarketFault):
    """An answer that is none of this API's."""
