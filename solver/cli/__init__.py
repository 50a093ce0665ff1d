"""The `keyfill` command."""

import sys

from cyclopts import App
from rich.markup import escape

from contracts.fault import ContractsFault
from solver.cli import account, trade
from solver.cli.context import ERR, CommandFailed
from solver.cli.demo import demo
from solver.cli.up import up
from solver.client import MarketFault
from solver.core.check import Violation
from solver.demo.process import StartFailed
from solver.journal import JournalFault
from solver.run import BooksDiffer, StartRefused
from solver.runtime.config import ConfigInvalid
from solver.settlement.fault import SettlementFault
from solver.vault import VaultFault

EXPECTED = (
    BooksDiffer,
    CommandFailed,
    ConfigInvalid,
    ContractsFault,
    JournalFault,
    MarketFault,
    SettlementFault,
    StartFailed,
    StartRefused,
    VaultFault,
)
"""What ends a command with one line instead of a traceback."""

app = App(
    name="keyfill",
    help="A market for API capacity: signed intents, competing solvers, settlement on chain.",
    version="0.1.0",
)
app.command(up)
app.command(demo)
app.command(trade.key_app)
app.command(trade.offer_app)
app.command(trade.intent_app)
app.command(trade.call)
app.command(trade.balance)
app.command(trade.book)
app.command(account.app)


def main() -> None:
    """Run a command; expected failures are one line on standard error and exit code 1."""
    try:
        app()
    except BaseExceptionGroup as group:
        _end(_first(group))
    except (*EXPECTED, Violation) as error:
        _end(error)


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _end(error: BaseException) -> None:
    if isinstance(error, Violation):
        ERR.print(f"[bold red]violation[/] {escape(str(error))}: the market stopped, see README")
        sys.exit(70)
    if not isinstance(error, EXPECTED):
        raise error
    ERR.print(f"[bold red]keyfill:[/] {escape(str(error))}")
    sys.exit(1)
