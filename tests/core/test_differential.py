"""The exchange against its naive twin over long flows, with everything compared each command.

`KEYFILL_COMMANDS=1000000` makes the long one as long as that.
"""

import os
from typing import Final

import pytest

from tests.core.duel import a_duel

COMMANDS: Final = int(os.environ.get("KEYFILL_COMMANDS", "20000"))
"""A command costs about 70 µs of CPU: a million take a minute and a bit."""
COMMANDS_PER_DUEL: Final = 50_000
"""Each duel begins anew, so that a failure's seed is soon repeated."""


@pytest.mark.timeout(60 + COMMANDS // 500)
def test_both_exchanges_agree_after_every_command(
    request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    """Equal fills, executions, books, deadlines and balances, by one hash after each command."""
    first = int(request.config.getoption("--hypothesis-seed"))
    seed, commands, fills = first, 0, 0
    while commands < COMMANDS:
        wanted = min(COMMANDS_PER_DUEL, COMMANDS - commands)
        try:
            duel = a_duel(seed, wanted)
        except BaseException as error:
            error.add_note(f"a_duel({seed}, {wanted})")
            raise
        seed, commands, fills = seed + 1, commands + duel.count, fills + duel.fills
    with capsys.disabled():
        print(f" [{commands:,} commands, {fills:,} fills, equal after each]", end="")  # noqa: T201
    assert fills > commands // 10, "it does trade"


def test_the_same_seed_gives_the_same_duel() -> None:
    """A failure can be repeated; another seed is another duel."""
    assert a_duel(5, 500).digest == a_duel(5, 500).digest != a_duel(6, 500).digest
