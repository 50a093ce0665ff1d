"""Writes in place on a simulated disk: a power cut there ends the process within a step."""

from collections.abc import Callable
from typing import TypeVar

from simulations.swarm.loop import PROCESS, PowerCut
from solver.engine.writer import QuickWriter

T = TypeVar("T")


class MortalWriter(QuickWriter):
    """The disk is always quick; whoever is cut off while writing says and does nothing more."""

    def __init__(self) -> None:
        super().__init__(seconds=lambda: 0.0)

    async def write(self, commands: int, work: Callable[[], T]) -> T:
        """Carry out a write; raises what it raises, and PowerCut once the process has died."""
        try:
            return await super().write(commands, work)
        except PowerCut:
            process = PROCESS.get()
            if process is not None:
                process.die()
            raise
