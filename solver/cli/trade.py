"""`keyfill intent`, `offer`, `key`, `call`, `balance`, `book`: what agents and contributors do."""

import getpass
import json as jsonlib
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter
from rich.console import Console

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
ROWS_MAX = 50
HOURS_MAX = MINUTES_MAX // 60
DAY_MINUTES = 24 * 60
IntentId = Annotated[str, Parameter(help="The intent's digest, as `intent create` tells it.")]
OfferId = Annotated[str, Parameter(help="The offer's digest, as `offer create` tells it.")]
KeyId = Annotated[str, Parameter(help="The key's id, as `key add` tells it.")]
intent_app = App(name="intent", help="Buy: sign intents, look at, finish and cancel them.")
offer_app = App(name="offer", help="Sell: sign offers, look at and withdraw them.")
key_app = App(name="key", help="Contribute API keys, check and revoke them.")


def _account(context: Context) -> str | None:
    return address(context.account) if context.account else None


@asynccontextmanager
async def agent_of(context: Context) -> AsyncIterator[Agent]:
    """The buyer whose key these options name."""
    async with Market(context.market_url()) as market:
        yield Agent(market, context.key(), _account(context))


@asynccontextmanager
async def _contributor(context: Context) -> AsyncIterator[Contributor]:
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
async def list_intents(*, context: Context = LOCAL) -> None:
    """Your newest intents and where they stand."""
    async with agent_of(context) as agent:
        told = await agent.market.get(
            "/v1/intents", dict[str, Any], account=agent.account, limit=ROWS_MAX
        )
        rows = [
            {
                "digest": row["digest"],
                "status": row["status"],
                "resource": row["resource"],
                "filled": f"{row['filledUnits']}/{row['units']}",
            }
            for row in told["intents"]
        ]
        context.show_rows("intents", rows)


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
    async with _contributor(context) as contributor:
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
async def list_offers(*, context: Context = LOCAL) -> None:
    """Your offers, the keys behind them, and what is left."""
    async with _contributor(context) as contributor:
        told = await contributor.market.get(
            "/v1/offers", dict[str, Any], account=contributor.account, limit=ROWS_MAX
        )
        rows = [
            {
                "digest": row["digest"],
                "key": row["key"],
                "resource": row["resource"],
                "open": f"{row['openUnits']}/{row['units']}",
                "live": row["live"],
            }
            for row in told["offers"]
        ]
        context.show_rows("offers", rows)


@offer_app.command(name="withdraw")
async def withdraw_offer(digest: OfferId, /, *, context: Context = LOCAL) -> None:
    """Sell no more of an offer."""
    async with _contributor(context) as contributor:
        await contributor.withdraw(identifier(digest, "an offer"))
        context.show("offer", {"digest": digest, "result": "withdrawn"})


@key_app.command(name="add")
async def add_key(
    provider: Annotated[str, Parameter(help="Whose key it is (see `keyfill key providers`).")],
    /,
    *,
    secret_file: Annotated[
        Path | None,
        # A lone hyphen is no option.
        Parameter(help="File with the key; - reads standard input.", allow_leading_hyphen=True),
    ] = None,
    attest: Annotated[bool, Parameter(help="Sign the provider's attestation.")] = False,
    context: Context = LOCAL,
) -> None:
    """Contribute an API key. It is asked for, not taken from the command line."""
    secret = _read_secret(provider, secret_file)
    async with _contributor(context) as contributor:
        if not attest:
            await _explain_attestation(contributor, provider)
        pooled = await contributor.contribute(provider, secret, attest=attest)
        context.show(
            "key",
            {
                "key": pooled.key,
                "provider": pooled.provider,
                "resources": ", ".join(pooled.resources),
            },
        )


@key_app.command(name="health")
async def key_health(key: KeyId, /, *, context: Context = LOCAL) -> None:
    """Ask the provider whether a key is alive; costs no units."""
    async with _contributor(context) as contributor:
        found = await contributor.health(identifier(key, "a key"))
        context.show("key", {"key": key, "provider": found.provider, "status": found.status})


@key_app.command(name="revoke")
async def revoke_key(key: KeyId, /, *, context: Context = LOCAL) -> None:
    """Take a key out at once and have it erased."""
    async with _contributor(context) as contributor:
        await contributor.revoke(identifier(key, "a key"))
        context.show("key", {"key": key, "result": "revoked and erased"})


@key_app.command(name="providers")
async def list_providers(*, context: Context = LOCAL) -> None:
    """Whose keys this market takes, and on which terms."""
    async with Market(context.market_url()) as market:
        told = (await market.providers()).providers
        rows = [
            {
                "provider": one.name,
                "sharing": one.sharing,
                "resources": ", ".join(one.resources),
                "attestation": one.attestation,
            }
            for one in told
        ]
        context.show_rows("providers", rows)


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


def _read_secret(provider: str, file: Path | None) -> str:
    if file is None and not sys.stdin.isatty():
        raise CommandFailed("there is no terminal to ask: give the key with --secret-file -")
    if file is None:
        return getpass.getpass(f"{provider} key: ").strip()
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise CommandFailed(f"{file} cannot be read: {error}") from error
    return text.strip()


async def _explain_attestation(contributor: Contributor, provider: str) -> None:
    for one in (await contributor.market.providers()).providers:
        if one.name == provider and one.sharing == "allowed":
            Console(stderr=True).print(
                f"Without --attest the key is refused. It signs: [italic]{one.attestation}[/]"
            )
