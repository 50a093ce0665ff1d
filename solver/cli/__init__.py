"""The `keyfill` command. Each sub-command's module is imported when it is used."""

import sys

from cyclopts import App, Parameter
from rich.console import Console
from rich.markup import escape

OURS = frozenset({"contracts", "intents", "simulations", "solver"})
VIOLATED = 70
"""Exit code of a broken invariant (EX_SOFTWARE)."""

app = App(
    name="keyfill",
    help="A market for API capacity: signed intents, competing solvers, settlement on chain.",
    version="0.1.0",
    default_parameter=Parameter(
        negative=(),
        # What is off or empty unless it is given goes without saying.
        show_default=lambda value: None if value in ("", None) or value is False else str(value),
    ),
)

COMMANDS = (
    ("up", "solver.cli.up:up", "Run a market, with a local chain of its own if none is named."),
    ("demo", "solver.cli.demo:demo", "The whole way once, on real upstreams and a real chain."),
    (
        "playground",
        "solver.cli.playground:playground",
        "A busy market with three solvers to beat, for a solver of your own.",
    ),
    (
        "account",
        "solver.cli.account:app",
        "Your key and money: deposits, withdrawals, session keys.",
    ),
    ("key", "solver.cli.key:app", "Contribute API keys, look at, check and revoke them."),
    ("offer", "solver.cli.trade:offer_app", "Sell: sign offers, look at and withdraw them."),
    (
        "intent",
        "solver.cli.trade:intent_app",
        "Buy: sign intents, look at, finish and cancel them.",
    ),
    (
        "bundle",
        "solver.cli.bundle:app",
        "Buy several together or not at all, or any one of several.",
    ),
    ("mandate", "solver.cli.mandate:app", "Sign once, then buy within it without signing."),
    (
        "spending",
        "solver.cli.spending:app",
        "What you owe for small calls, and your signature for it.",
    ),
    ("call", "solver.cli.trade:call", "Make one call under an intent's lease."),
    ("balance", "solver.cli.trade:balance", "What an account has in the market."),
    ("book", "solver.cli.trade:book", "The open bids and asks of a resource."),
    ("auction", "solver.cli.auction:app", "Past competitions, and each of them judged again."),
    ("solver", "solver.cli.solver:app", "Compete in auctions with a strategy, or watch them."),
    ("journal", "solver.cli.journal:app", "Verify, replay and export what the market has kept."),
)
for order, (name, place, told) in enumerate(COMMANDS):
    app.command(place, name=name, help=told, sort_key=order)


def main() -> None:
    """Run a command; what our own code refuses is one line on standard error, exit code 1."""
    try:
        app()
    except Exception as error:  # noqa: BLE001  sorted below; what is not ours is raised again
        _end(_first(error))


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _end(error: BaseException) -> None:
    kind = type(error)
    console = Console(stderr=True)
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        console.print(f"[bold red]keyfill:[/] {escape(where + str(error.strerror))}")
        sys.exit(1)
    if kind.__module__.partition(".")[0] not in OURS:
        raise error
    if kind.__name__ == "Violation":
        console.print(f"[bold red]violation[/] {escape(str(error))}")
        console.print("The market stopped rather than guess; nothing acknowledged is lost.")
        sys.exit(VIOLATED)
    console.print(f"[bold red]keyfill:[/] {escape(str(error))}", soft_wrap=True)
    sys.exit(1)
