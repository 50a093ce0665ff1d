"""`keyfill intent`, `offer`, `call`, `balance`, `book`: what agents and contributors do."""

import json as jsonlib
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Annotated, Any, TypeVar

from cyclopts import App, Parameter

from intents.bound import UNITS_MAX
from intents.bulk import INTENTS_MAX
from solver.cli.context import (
    ERR,
    OUT,
    CommandFailed,
    Context,
    address,
    atoms,
    identifier,
    usdc,
    whole,
)
from solver.cli.purchase import (
    MINUTES_MAX,
    File,
    delay_seconds,
    read_purchases,
    rows_of,
)
from solver.client import Agent, Contributor, Market, Purchase
from solver.client.model import Intent, Offer

LOCAL = Context()
ROWS = 50
ROWS_MAX = 10_000
L = TypeVar("L")
HOURS_MAX = MINUTES_MAX // 60
DAY_MINUTES = 24 * 60
IntentId = Annotated[str, Parameter(help="The intent's digest, as `intent create` tells it.")]
OfferId = Annotated[str, Parameter(help="The offer's digest, as `offer create` tells it.")]
intent_app = App(name="intent", help="Buy: sign intents, look at, finish and cancel them.")
offer_app = App(name="offer", help="Sell: sign offers, look at and withdraw them.")


def _account(context: Context) -> str | None:
    return address(context.account) if context.account else None


@asynccontextmanager
async def agent_of(context: Context) -> AsyncIterator[Agent]:
    """The buyer whose key these options name."""
    async with Market(context.market_url()) as market:
        yield Agent(market, context.key(), _account(context))


@asynccontextmanager
async def contributor_of(context: Context) -> AsyncIterator[Contributor]:
    """The seller whose key these options name."""
    async with Market(context.market_url()) as market:
        yield Contributor(market, context.key(), _account(context))


@intent_app.command(name="create")
async def create_intent(
    resource: str,
    /,
    *,
    units: int,
    limit: str,
    minimum: int = 1,
    all_or_none: bool = False,
    immediate: bool = False,
    minutes: int = 60,
    not_before: datetime | None = None,
    wait: bool = False,
    context: Context = LOCAL,
) -> None:
    """Sign "up to LIMIT for UNITS of RESOURCE" and submit it.

    Args:
        resource: What to buy, for example datasette/search:call (see `keyfill key providers`).
        units: How many units.
        limit: USDC for all units together, at most.
        minimum: Units of one execution, at least.
        all_or_none: All units at once, or nothing.
        immediate: Fill now, cancel the rest.
        minutes: Minutes that it is good for.
        not_before: Start of these minutes, like 2027-01-31T08:00, yours or with a zone.
            Default: now.
        wait: Wait until it is filled.
        context: Options of every command.
    """
    whole("--units", units, 1, UNITS_MAX)
    whole("--minimum", minimum, 1, units)
    whole("--minutes", minutes, 1, MINUTES_MAX)
    async with agent_of(context) as agent:
        delay = delay_seconds(not_before, agent.market.time_s())
        bought = await agent.intent(
            resource,
            units=units,
            limit=atoms(limit),
            units_min=units if all_or_none else minimum,
            immediate=immediate,
            valid_seconds=minutes * 60,
            delay_seconds=delay,
        )
        if wait:
            ERR.print(f"waiting for {bought.digest} (Ctrl-C leaves it open)", soft_wrap=True)
            if await _sells(agent, resource):
                ERR.print("what you offer yourself is passed over: only others sell to you")
            try:
                await bought.filled(timeout_seconds=delay + minutes * 60)
            except TimeoutError as error:
                raise CommandFailed(f"{bought.digest} was not filled in time") from error
        context.show("intent", _intent(bought.state))


@intent_app.command(name="many")
async def create_intents(
    file: File,
    /,
    *,
    context: Context = LOCAL,
) -> None:
    """Sign all purchases of a file with one signature (for each thousand) and submit them.

    A line is like {"resource": "datasette/search:call", "units": 3, "limit": "0.015"}, and may
    have "minimum", "immediate" and "minutes".
    """
    purchases = read_purchases(file)
    async with agent_of(context) as agent:
        context.show_rows("intents", rows_of(await agent.buy_many(purchases)))


@intent_app.command(name="recurring")
async def create_recurring(
    resource: str,
    /,
    *,
    units: int,
    limit: str,
    times: int,
    every_minutes: int = DAY_MINUTES,
    minimum: int = 1,
    not_before: datetime | None = None,
    context: Context = LOCAL,
) -> None:
    """Sign "up to LIMIT for UNITS of RESOURCE" for each of so many periods in a row: N a day.

    One signature is for all. Each period has an intent of its own, which ends with it and can be
    cancelled alone; the limits of all of them are held from now on.

    Args:
        resource: What to buy, for example datasette/search:call (see `keyfill key providers`).
        units: How many units in each period.
        limit: USDC for all units of a period together, at most.
        times: How many periods.
        every_minutes: Length of a period.
        minimum: Units of one execution, at least.
        not_before: Start of the first, like 2027-01-31T08:00, yours or with a zone.
            Default: now.
        context: Options of every command.
    """
    whole("--units", units, 1, UNITS_MAX)
    whole("--minimum", minimum, 1, units)
    whole("--times", times, 1, INTENTS_MAX)
    whole("--every-minutes", every_minutes, 1, MINUTES_MAX // times)
    async with agent_of(context) as agent:
        purchase = Purchase(
            resource=resource,
            units=units,
            limit=atoms(limit),
            units_min=minimum,
            delay_seconds=delay_seconds(not_before, agent.market.time_s()),
        )
        bought = await agent.buy_recurring(purchase, every_seconds=every_minutes * 60, times=times)
        context.show_rows(
            "intents",
            [
                {"from": _time(one.document.valid_from), **row}
                for one, row in zip(bought, rows_of(bought), strict=True)
            ],
        )


@intent_app.command(name="show")
async def show_intent(digest: IntentId, /, *, context: Context = LOCAL) -> None:
    """What became of an intent."""
    async with Market(context.market_url()) as market:
        found = await market.get(f"/v1/intents/{identifier(digest, 'an intent')}", Intent)
        context.show("intent", _intent(found))


@intent_app.command(name="list")
async def list_intents(*, rows: int = ROWS, context: Context = LOCAL) -> None:
    """Your newest intents and where they stand.

    Args:
        rows: How many at most.
        context: Options of every command.
    """
    whole("--rows", rows, 1, ROWS_MAX)
    async with agent_of(context) as agent:
        shown = [
            {
                "digest": intent.digest,
                "status": intent.state.status,
                "resource": intent.state.resource,
                "filled": f"{intent.state.filled_units}/{intent.state.units}",
            }
            for intent in await _first(rows, agent.intents())
        ]
        context.show_rows("intents", shown)


@intent_app.command(name="cancel")
async def cancel_intent(digest: IntentId, /, *, context: Context = LOCAL) -> None:
    """Withdraw what is not filled."""
    async with agent_of(context) as agent:
        bought = await agent.find(identifier(digest, "an intent"))
        await bought.cancel()
        context.show("intent", _intent(await bought.refresh()))


@intent_app.command(name="done")
async def finish_intent(digest: IntentId, /, *, context: Context = LOCAL) -> None:
    """Make no more calls: end the leases, so that what was delivered is settled."""
    async with agent_of(context) as agent:
        bought = await agent.find(identifier(digest, "an intent"))
        await bought.done()
        context.show("intent", _intent(await bought.refresh()))


async def _sells(agent: Agent, resource: str) -> bool:
    """Whether an account stands on the other side, too: its own it never buys."""
    offers = Contributor(agent.market, agent.identity.key, agent.account).offers()
    async for one in offers:
        if one.live and one.resource == resource:
            return True
    return False


async def _first(count: int, listed: AsyncIterator[L]) -> list[L]:
    found: list[L] = []
    async for one in listed:
        found.append(one)
        if len(found) == count:
            break
    return found


@offer_app.command(name="create")
async def create_offer(
    resource: str,
    /,
    *,
    key: str,
    units: int,
    limit: str,
    window_units: int = 0,
    window_seconds: int = 0,
    hours: int = 24,
    context: Context = LOCAL,
) -> None:
    """Sign "UNITS of RESOURCE for at least LIMIT" and submit it.

    Args:
        resource: What the key serves, for example datasette/search:call.
        key: Id of a key that you contributed.
        units: How many units.
        limit: USDC for all units together, at least.
        window_units: At most so many units in any WINDOW-SECONDS. Default: what the key allows.
        window_seconds: Length of that window.
        hours: Hours that it is good for.
        context: Options of every command.
    """
    whole("--units", units, 1, UNITS_MAX)
    whole("--hours", hours, 1, HOURS_MAX)
    if (window_units > 0) != (window_seconds > 0):
        raise CommandFailed("--window-units and --window-seconds come together")
    async with contributor_of(context) as contributor:
        offer = await contributor.offer(
            resource,
            key=identifier(key, "a key"),
            units=units,
            limit=atoms(limit),
            window=(window_units, window_seconds),
            valid_seconds=hours * 3_600,
        )
        context.show("offer", _offer(offer))


@offer_app.command(name="show")
async def show_offer(digest: OfferId, /, *, context: Context = LOCAL) -> None:
    """What is left of an offer."""
    async with Market(context.market_url()) as market:
        context.show(
            "offer", _offer(await market.get(f"/v1/offers/{identifier(digest, 'an offer')}", Offer))
        )


@offer_app.command(name="list")
async def list_offers(*, rows: int = ROWS, context: Context = LOCAL) -> None:
    """Your newest offers, the keys behind them, and what is left.

    Args:
        rows: How many at most.
        context: Options of every command.
    """
    whole("--rows", rows, 1, ROWS_MAX)
    async with contributor_of(context) as contributor:
        shown = [
            {
                "digest": offer.digest,
                "key": offer.key,
                "resource": offer.resource,
                "open": f"{offer.open_units}/{offer.units}",
                "live": offer.live,
            }
            for offer in await _first(rows, contributor.offers())
        ]
        context.show_rows("offers", shown)


@offer_app.command(name="withdraw")
async def withdraw_offer(digest: OfferId, /, *, context: Context = LOCAL) -> None:
    """Sell no more of an offer."""
    async with contributor_of(context) as contributor:
        await contributor.withdraw(identifier(digest, "an offer"))
        context.show("offer", {"digest": digest, "result": "withdrawn"})


async def call(
    intent: IntentId,
    method: Annotated[str, Parameter(help="GET or POST.")],
    path: Annotated[str, Parameter(help="The upstream's path, with its query.")],
    /,
    *,
    body: Annotated[str, Parameter(help="JSON to send.")] = "",
    context: Context = LOCAL,
) -> None:
    """Make one call under an intent's lease; the upstream's answer goes to standard output."""
    if method.upper() not in {"GET", "POST"}:
        raise CommandFailed(f"{method!r} is not passed on: GET or POST")
    headers = {"Content-Type": "application/json"} if body else {}
    async with agent_of(context) as agent:
        bought = await agent.find(identifier(intent, "an intent"))
        # The path goes out as it was written: its query is not encoded a second time.
        async with bought.stream(
            method.upper(), path, headers=headers, body=body.encode()
        ) as answer:
            async for chunk in answer:
                sys.stdout.buffer.write(chunk)
                sys.stdout.buffer.flush()
        if answer.status >= 400:  # noqa: PLR2004
            raise CommandFailed(f"the upstream answered {answer.status}")


async def balance(*, context: Context = LOCAL) -> None:
    """What the account has in the market: USDC, credits, epoch, session keys."""
    async with agent_of(context) as agent:
        told = await agent.balance()
        context.show(
            "balance",
            {
                "account": told.account,
                "usdc available": usdc(told.usdc.available),
                "usdc held": usdc(told.usdc.held),
                "credits available": told.credit.available,
                "epoch": told.epoch,
                "session keys": ", ".join(s.address for s in told.sessions if s.live) or None,
            },
        )


async def book(
    resource: Annotated[str, Parameter(help="For example datasette/search:call.")],
    /,
    *,
    context: Context = LOCAL,
) -> None:
    """The open bids and asks of a resource."""
    async with Market(context.market_url()) as market:
        asset = market.signing.assets.usdc
        told = await market.get("/v1/book", dict[str, Any], resource=resource, asset=asset)
        if context.json:
            OUT.print_json(jsonlib.dumps(told))
            return
        for side in ("asks", "bids"):
            rows = [
                {
                    "price": _price(level["tick"]),
                    "units": level["units"],
                    "orders": level["orders"],
                }
                for level in told[side]
            ]
            context.show_rows(side, rows)


def _intent(state: Intent) -> dict[str, Any]:
    return {
        "digest": state.digest,
        "status": state.status,
        "resource": state.resource,
        "units": state.units,
        "limit": usdc(state.limit),
        "filled": state.filled_units,
        "delivered": state.delivered_units,
        "paid": usdc(state.paid),
    }


def _offer(offer: Offer) -> dict[str, Any]:
    return {
        "digest": offer.digest,
        "live": offer.live,
        "resource": offer.resource,
        "units": offer.units,
        "open": offer.open_units,
        "limit": usdc(offer.limit),
    }


def _time(unix_s: int) -> str:
    """In the zone of whoever reads it."""
    return datetime.fromtimestamp(unix_s).astimezone().isoformat(timespec="seconds")


def _price(tick: int) -> str:
    """USDC per unit: a tick is atoms per 10⁶ units."""
    whole, rest = divmod(tick, 10**12)
    return f"{whole}.{rest:012}".rstrip("0").rstrip(".")
