"""The parts of a gateway that bind a signature to its account, and a world's node behind them."""

from typing import Final, cast

from intents.admission import Rules
from solver.core.state import State
from solver.engine.sequencer import Sequencer
from solver.gateway.gateway import Gateway, Load, Rates
from solver.gateway.limit import Limits
from solver.settlement.signatures import ContractSignatures


class Door:
    """As much of a `Gateway` as its own code needs to say whose word a signature is."""

    def __init__(
        self, sequencer: Sequencer, rules: Rules, contract_signatures: ContractSignatures
    ) -> None:
        self.sequencer: Final = sequencer
        self.rules: Final = rules
        self.contract_signatures: Final = contract_signatures
        self.limits: Final = Limits()
        self.rates: Final = Rates.of(self.limits)
        self.load: Final = Load.of(self.limits)

    @property
    def state(self) -> State:
        """The market's memory."""
        return self.sequencer.market.state

    def now_ms(self) -> int:
        """The market's time."""
        return self.sequencer.now_ms()


def door(sequencer: Sequencer, rules: Rules, signatures: ContractSignatures) -> Gateway:
    """A gateway without HTTP, to hand to the functions that ask who signed."""
    return cast("Gateway", Door(sequencer, rules, signatures))
