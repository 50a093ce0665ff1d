"""The demo's story as tables that a person can read in a terminal."""

from collections import Counter

import msgspec
from rich.console import Console
from rich.table import Table

from solver.client.model import Event
from solver.demo.scenario import Story

ATOMS_PER_USDC = 10**6
MICRO = 10**6


def print_report(story: Story, console: Console) -> None:
    """All of it, in the order in which it happened."""
    console.print()
    for table in (
        _intents(story),
        _fills(story),
        _competition(story),
        _calls(story),
        _transactions(story),
        _books(story),
    ):
        console.print(table)
        console.print()
    _verdict(story, console)


def summary(story: Story) -> str:
    """The outcome as one JSON object. Amounts in atoms."""
    return msgspec.json.encode(
        {
            "agrees": story.agrees,
            "intents": [
                {"buyer": one.buyer, "shows": one.shows, **msgspec.structs.asdict(one.intent.state)}
                for one in story.bought
            ],
            "calls": len(story.calls),
            "transactions": story.transactions,
            "books": story.books,
            "leaks": story.leaks,
        }
    ).decode()


def _intents(story: Story) -> Table:
    table = _table("Intents", "buyer", "shows", "what", "up to", "filled", "served")
    table.add_column("paid", justify="right")
    table.add_column("outcome")
    for one in story.bought:
        state = one.intent.state
        table.add_row(
            one.buyer,
            one.shows,
            _short(state.resource),
            f"{state.units} for {_usdc(state.limit)}",
            str(state.filled_units),
            str(state.delivered_units),
            _usdc(state.paid),
            f"[bold]{state.status}[/]",
        )
    small = [intent.state for intent in story.small]
    if small:
        table.add_row(
            "gil",
            f"{len(small)} small ones, paid in sums",
            _short(small[0].resource),
            f"1 for {_usdc(small[0].limit)} each",
            str(sum(state.filled_units for state in small)),
            str(sum(state.delivered_units for state in small)),
            _usdc(sum(state.paid for state in small)),
            f"[bold]{', '.join(sorted({state.status for state in small}))}[/]",
        )
    return table


def _fills(story: Story) -> Table:
    table = _table("Fills", "buyer", "seller", "what", "units", "each", "served")
    table.add_column("owed", justify="right")
    closed = {e.facts["lease"]: e.facts for e in _of(story, "LeaseClosed")}
    moved = {e.facts["toLease"] for e in _of(story, "LeaseMoved")}
    small = {intent.digest for intent in story.small}
    for event in _of(story, "Filled"):
        facts = event.facts
        if facts["intent"] in small:
            continue
        end = closed.get(facts["fill"], {})
        note = " [yellow](a key died)[/]" if facts["fill"] in moved else ""
        table.add_row(
            story.names.get(facts["buyer"], facts["buyer"]),
            story.names.get(facts["seller"], facts["seller"]) + note,
            _short(facts["resource"]),
            str(end.get("units", facts["units"])),
            _price(facts["tick"]),
            str(end.get("delivered", "")),
            _usdc(end.get("payment", 0)),
        )
    return table


def _competition(story: Story) -> Table:
    table = _table("Competition for the chat epochs", "auction", "rank", "solver")
    table.add_column("surplus (USDC)", justify="right")
    table.add_column("result")
    for event in _of(story, "SolutionJudged"):
        facts = event.facts
        reason = facts.get("reason")
        solver = facts["solver"]
        table.add_row(
            str(facts["auction"]),
            str(facts["rank"]),
            solver if not solver.startswith("0x") else f"external {solver[:8]}…",
            _usdc(int(facts["score"]) // MICRO),
            reason["code"] if reason else "[bold green]won[/]",
        )
    return table


def _calls(story: Story) -> Table:
    table = _table("Calls served", "buyer", "what", "calls", "units", "for example", "answered")
    counts = Counter((call.buyer, call.resource) for call in story.calls)
    for (buyer, resource), count in sorted(counts.items()):
        calls = [c for c in story.calls if (c.buyer, c.resource) == (buyer, resource)]
        table.add_row(
            buyer,
            _short(resource),
            str(count),
            str(sum(call.units for call in calls)),
            calls[-1].asked,
            calls[-1].answer[:48],
        )
    return table


def _transactions(story: Story) -> Table:
    table = _table("Transactions", "batch", "hash", "block", "settled", "skipped")
    for name in ("gas", "gas per fill", "paid"):
        table.add_column(name, justify="right")
    for one in story.transactions:
        table.add_row(
            f"{one.number}{' (sums)' if one.metered else ''}",
            f"{one.hash[:10]}…",
            str(one.block),
            str(one.settled),
            str(one.skipped),
            f"{one.gas:,}",
            f"{one.gas // max(1, one.settled + one.skipped):,}",
            _usdc(one.paid),
        )
    return table


def _books(story: Story) -> Table:
    table = _table("Balances in USDC", "who")
    for name in ("before", "on chain", "in the book", "by receipts"):
        table.add_column(name, justify="right")
    table.add_column("agree")
    for one in story.books:
        table.add_row(
            one.name,
            _usdc(one.before),
            _usdc(one.chain),
            _usdc(one.book),
            _usdc(one.expected),
            "[green]to the atom[/]" if one.agree else "[bold red]NO[/]",
        )
    return table


def _verdict(story: Story, console: Console) -> None:
    before = sum(one.before for one in story.books)
    after = sum(one.chain for one in story.books)
    console.print(f"{_usdc(before)} USDC went in, {_usdc(after)} are there.")
    if story.leaks:
        console.print(f"[bold red]A key was found in: {', '.join(story.leaks)}[/]")
    else:
        console.print("No byte of a key in journal, databases, signed transactions or logs.")
    if story.agrees:
        console.print("[bold green]Chain and book agree to the atom.[/]")
    else:
        console.print("[bold red]They do not agree.[/]")


def _of(story: Story, kind: str) -> list[Event]:
    return [event for event in story.events if event.event == kind]


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", header_style="dim")
    for column in columns:
        table.add_column(column)
    return table


def _short(resource: str) -> str:
    """The operation alone: `datasette/search:call` is "search" here."""
    return resource.partition("/")[2].partition(":")[0]


def _usdc(atoms: int) -> str:
    whole, rest = divmod(atoms, ATOMS_PER_USDC)
    return f"{whole}.{rest:06}"


def _price(tick: int) -> str:
    """USDC per unit."""
    whole, rest = divmod(tick, 10**12)
    return f"{whole}.{rest:012}".rstrip("0").rstrip(".")
