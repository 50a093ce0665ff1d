"""`keyfill mandate`: sign once, then buy within it without signing again."""

import os
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
from cyclopts import App, Parameter

from intents.bound import TICK_MAX, TICK_UNITS
from solver.cli.context import CommandFailed, Context, atoms, identifier, usdc, whole
from solver.cli.purchase import MINUTES_MAX, File, read_purchases, rows_of
from solver.cli.trade import LOCAL, agent_of
from solver.client import MandateSecret, MandateSession, Market
from solver.client.model import Mandate

HOURS_MAX: Final = MINUTES_MAX // 60
Digest = Annotated[str, Parameter(help="The mandate's, as `mandate create` tells it.")]

app = App(name="mandate", help="Sign once, then buy within it without signing each intent.")


@app.command
async def create(
    *,
    limit: str,
    price: str,
    resource: str = "",
    hours: int = 24,
    context: Context = LOCAL,
) -> None:
    """Sign "buy for up to LIMIT in all, at no more than PRICE a unit" and register it.

    Its secret is kept in the data folder; whoever has that file can use the mandate up.

    Args:
        limit: USDC for everything together, at most.
        price: USDC for one unit, at most.
        resource: What may be bought. Default: anything.
        hours: Hours that it is good for.
        context: Options of every command.
    """
    tick_max = atoms(price) * TICK_UNITS
    if not 1 <= tick_max <= TICK_MAX:
        raise CommandFailed(f"--price is 0.000001 to {TICK_MAX // TICK_UNITS**2}")
    seconds = whole("--hours", hours, 1, HOURS_MAX) * 3_600
    async with agent_of(context) as agent:
        session = await agent.mandate(
            limit=atoms(limit), tick_max=tick_max, resource=resource, valid_seconds=seconds
        )
        _keep(context, session)
        context.show("mandate", _mandate(session.state))


@app.command
async def buy(
    digest: Digest,
    file: File,
    /,
    *,
    context: Context = LOCAL,
) -> None:
    """Submit the purchases of a file under a mandate whose secret is kept here.

    A line is like {"resource": "datasette/search:call", "units": 3, "limit": "0.015"}.
    """
    purchases = read_purchases(file)
    kept = _kept(context, digest)
    async with agent_of(context) as agent:
        bought = await agent.resume(kept).buy_many(purchases)
        context.show_rows("intents", rows_of(bought))


@app.command
async def show(digest: Digest, /, *, context: Context = LOCAL) -> None:
    """How far a mandate is used."""
    async with Market(context.market_url()) as market:
        found = await market.get(f"/v1/mandates/{identifier(digest, 'a mandate')}", Mandate)
        context.show("mandate", _mandate(found))


@app.command
async def replace_secret(digest: Digest, /, *, context: Context = LOCAL) -> None:
    """Get a mandate another secret: if the old one is lost, or somebody may have seen it.

    The old one counts no more; what was bought stands. The new one is kept in the data folder,
    where `mandate buy` finds it.
    """
    async with agent_of(context) as agent:
        session = await agent.find_mandate(identifier(digest, "a mandate"))
        await session.replace_secret()
        _keep(context, session)
        context.show("mandate", _mandate(session.state))


@app.command
async def end(digest: Digest, /, *, context: Context = LOCAL) -> None:
    """Withdraw a mandate, and what is open under it."""
    async with agent_of(context) as agent:
        session = await agent.find_mandate(identifier(digest, "a mandate"))
        await session.end()
        context.show("mandate", _mandate(await session.refresh()))


def _mandate(state: Mandate) -> dict[str, Any]:
    return {
        "digest": state.digest,
        "live": state.live,
        "resource": state.resource or "any",
        "limit": usdc(state.limit),
        "spent": usdc(state.spent),
        "committed": usdc(state.committed),
    }


def _place(context: Context, digest: str) -> Path:
    return context.data_dir / "mandates" / f"{identifier(digest, 'a mandate')}.json"


def _keep(context: Context, session: MandateSession) -> None:
    """Write what it takes to go on, for its owner only."""
    path = _place(context, session.digest)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    fresh = path.with_suffix(".new")
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(msgspec.json.encode(session.kept))
    fresh.replace(path)


def _kept(context: Context, digest: str) -> MandateSecret:
    try:
        return msgspec.json.decode(_place(context, digest).read_bytes(), type=MandateSecret)
    except (OSError, msgspec.DecodeError) as error:
        raise CommandFailed(
            f"no secret of mandate {digest} is kept here: "
            f"`keyfill mandate replace-secret {digest}` gets another"
        ) from error
