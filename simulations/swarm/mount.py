"""Production modules under a world's disk, pace and dice, as long as it runs.

They have no port for it, and a switch in them would be worse.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from logging import CRITICAL
from types import SimpleNamespace
from typing import Final

import structlog

import solver.bridge as bridge_module
import solver.engine.sequencer as sequencer_module
import solver.settlement.cutter as cutter_module
import solver.settlement.outbox as outbox_module
import solver.settlement.wallet as wallet_module
from simulations.stream import stream
from simulations.swarm.disk import Disk
from simulations.swarm.snapshot import PATCHES
from solver.engine.feed import Feed
from solver.engine.sequencer import INBOX_MAX
from solver.journal import recovery as recovery_module

TICK_S: Final = 0.25
POLL_S: Final = 1.0
INBOX_FEW: Final = 3
"""Commands that wait in a world that knows crowds."""


@contextmanager
def mounted(
    disk: Disk, seed: int, new_feed: Callable[..., Feed], *, is_crowded: bool
) -> Iterator[None]:
    """Put them in their places, and what was there back at the end."""
    dice = stream(seed, "names")
    names = SimpleNamespace(token_hex=lambda size: dice.randbytes(size).hex())
    with ExitStack() as stack:
        stack.callback(structlog.configure, **structlog.get_config())
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(CRITICAL))
        stack.enter_context(disk.mounted(outbox_module))
        for module, name, value in (
            (bridge_module, "secrets", names),
            (recovery_module, "Feed", new_feed),
            *PATCHES,
            (sequencer_module, "TICK_INTERVAL_S", TICK_S),
            (sequencer_module, "INBOX_MAX", INBOX_FEW if is_crowded else INBOX_MAX),
            (cutter_module, "POLL_S", POLL_S),
            (wallet_module, "POLL_S", POLL_S),
        ):
            stack.callback(setattr, module, name, getattr(module, name))
            setattr(module, name, value)
        yield
