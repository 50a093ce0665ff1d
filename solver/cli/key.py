"""`keyfill key`: contribute API keys, look at them, take them back."""

import getpass
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter
from rich.console import Console

from solver.cli.context import CommandFailed, Context, identifier
from solver.cli.trade import LOCAL, contributor_of
from solver.client import Contributor, Market

KeyId = Annotated[str, Parameter(help="The key's id, as `key add` and `key list` tell it.")]

app = App(name="key", help="Contribute API keys, look at, check and revoke them.")


@app.command(name="add")
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
    async with contributor_of(context) as contributor:
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


@app.command(name="list")
async def list_keys(*, context: Context = LOCAL) -> None:
    """Your keys, what they did of what they may, and how well they serve."""
    async with contributor_of(context) as contributor:
        rows = [
            {
                "key": one.key,
                "provider": one.provider,
                "live": one.live,
                "leases": one.leases,
                "used": ", ".join(
                    f"{window.occupied}/{window.units} in {window.seconds} s"
                    for window in one.windows
                ),
                "succeeded": f"{one.rating.success / 10:.1f} %" if one.rating else "-",
                "median": f"{one.rating.latency} ms" if one.rating else "-",
            }
            for one in await contributor.keys()
        ]
        context.show_rows("keys", rows)


@app.command(name="health")
async def key_health(key: KeyId, /, *, context: Context = LOCAL) -> None:
    """Ask the provider whether a key is alive; costs no units."""
    async with contributor_of(context) as contributor:
        found = await contributor.health(identifier(key, "a key"))
        context.show("key", {"key": key, "provider": found.provider, "status": found.status})


@app.command(name="revoke")
async def revoke_key(key: KeyId, /, *, context: Context = LOCAL) -> None:
    """Take a key out at once and have it erased."""
    async with contributor_of(context) as contributor:
        await contributor.revoke(identifier(key, "a key"))
        context.show("key", {"key": key, "result": "revoked and erased"})


@app.command(name="providers")
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
