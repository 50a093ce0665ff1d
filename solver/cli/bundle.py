"""`keyfill bundle`: buy several resources together or not at all, or any one of several."""

import json as jsonlib
from datetime import datetime
from typing import Annotated, Any

from cyclopts import App, Parameter

from intents.bound import LATENCY_MS_MAX, LEGS_MAX, LEGS_MIN, SUCCESS_MAX, UNITS_MAX
from solver.cli.context import ERR, OUT, CommandFailed, Context, atoms, identifier, usdc, whole
from solver.cli.purchase import MINUTES_MAX, delay_seconds
from solver.cli.trade import LOCAL, agent_of
from solver.client import BoughtBundle, Market, NotFilled, Purchase
from solver.client.bundle import BundleState
from solver.client.model import Intent

Legs = Annotated[
    list[tuple[str, int, str]],
    Parameter(
        name="--leg",
        negative=(),
        help="RESOURCE UNITS LIMIT: up to LIMIT USDC for all UNITS of it. Once for each leg.",
    ),
]
BundleId = Annotated[str, Parameter(help="The bundle's digest, as `bundle create` tells it.")]

app = App(name="bundle", help="Buy several together or not at all, or any one of several.")


@app.command
async def create(
    *,
    leg: Legs,
    any_of: bool = False,
    all_or_none: bool = False,
    success_min: int = 0,
    latency_max: int = 0,
    minutes: int = 60,
    not_before: datetime | None = None,
    wait: bool = False,
    context: Context = LOCAL,
) -> None:
    r"""Sign a bundle and submit it: all of its legs are bought in full, or nothing is.

    Ten searches and 100 model calls, or nothing:

        keyfill bundle create --leg tavily/search:call 10 0.05 --leg acme/chat:call 100 0.3

    Tavily or Serper, whichever is the better buy, a limit each:

        keyfill bundle create --any-of \
            --leg tavily/search:call 9 0.05 --leg serper/search:call 9 0.04

    One alone, from keys that served 950 of 1,000 calls and half of them within 800 ms:

        keyfill bundle create --leg tavily/search:call 9 0.05 \
            --success-min 950 --latency-max 800

    All legs are of resources that trade in epochs. What it may cost is held until then.

    Args:
        leg: What to buy.
        any_of: Buy any one of the legs, and let the others end.
        all_or_none: Of an any-of, all units of that leg at once. Legs of "all" always are.
        success_min: From keys alone of whose 1,000 calls at least so many succeeded.
        latency_max: From keys alone half of whose calls took at most so many milliseconds.
        minutes: Minutes that it is good for.
        not_before: Start of these minutes, like 2027-01-31T08:00, yours or with a zone.
            Default: now.
        wait: Wait until it is filled.
        context: Options of every command.
    """
    _check_terms(leg, success_min, latency_max, minutes)
    async with agent_of(context) as agent:
        delay = delay_seconds(not_before, agent.market.time_s())
        purchases = [
            Purchase(
                resource=resource,
                units=units,
                limit=atoms(limit),
                units_min=units if all_or_none else 1,
                valid_seconds=minutes * 60,
                delay_seconds=delay,
            )
            for resource, units, limit in leg
        ]
        bought = await agent.buy_bundle(
            purchases, any_of=any_of, success_min=success_min, latency_max=latency_max
        )
        if wait:
            await _filled(bought, delay + minutes * 60)
        _show(context, await bought.refresh())


@app.command(name="show")
async def show_bundle(digest: BundleId, /, *, context: Context = LOCAL) -> None:
    """What became of a bundle and each of its legs."""
    async with Market(context.market_url()) as market:
        path = f"/v1/bundles/{identifier(digest, 'a bundle')}"
        _show(context, await market.get(path, BundleState))


@app.command
async def cancel(digest: BundleId, /, *, context: Context = LOCAL) -> None:
    """Withdraw a bundle with all its legs."""
    async with agent_of(context) as agent:
        bought = await agent.find_bundle(identifier(digest, "a bundle"))
        await bought.cancel()
        _show(context, await bought.refresh())


def _check_terms(
    legs: list[tuple[str, int, str]], success_min: int, latency_max: int, minutes: int
) -> None:
    if not LEGS_MIN <= len(legs) <= LEGS_MAX:
        raise CommandFailed(
            f"a bundle has {LEGS_MIN} to {LEGS_MAX} legs, each with --leg RESOURCE UNITS LIMIT"
        )
    for resource, units, _ in legs:
        whole(f"UNITS of {resource}", units, 1, UNITS_MAX)
    whole("--success-min", success_min, 0, SUCCESS_MAX)
    whole("--latency-max", latency_max, 0, LATENCY_MS_MAX)
    whole("--minutes", minutes, 1, MINUTES_MAX)


async def _filled(bought: BoughtBundle, timeout_seconds: int) -> None:
    ERR.print(f"waiting for {bought.digest} (Ctrl-C leaves it open)", soft_wrap=True)
    try:
        await bought.filled(timeout_seconds=timeout_seconds)
    except (NotFilled, TimeoutError) as error:
        raise CommandFailed(f"{bought.digest} was not filled in time") from error


def _show(context: Context, state: BundleState) -> None:
    rows = [_leg(leg) for leg in state.legs]
    facts = {
        "digest": state.digest,
        "buys": "any one" if state.any else "all or nothing",
        "outcome": _outcome(state),
        "success min": state.success_min or None,
        "latency max": state.latency_max or None,
    }
    if context.json:
        OUT.print_json(jsonlib.dumps(facts | {"legs": rows}))
        return
    context.show("bundle", facts)
    context.show_rows("legs", rows)


def _outcome(state: BundleState) -> str:
    """One word for the whole: what is filled of an any-of ends the other legs."""
    if any(leg.filled_units for leg in state.legs):
        return "filled"
    return "over" if all(leg.is_over for leg in state.legs) else "open"


def _leg(leg: Intent) -> dict[str, Any]:
    return {
        "digest": leg.digest,
        "status": leg.status,
        "resource": leg.resource,
        "filled": f"{leg.filled_units}/{leg.units}",
        "limit": usdc(leg.limit),
    }
