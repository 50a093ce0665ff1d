"""The commands for bundles, any-ofs and what recurs, against a served market."""

import asyncio
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest

from solver.core.fact import EpochBumped
from solver.core.quality import Floor
from tests.builder import alice
from tests.gateway.test_bundle import auctioned
from tests.gateway.test_command import keyfill
from tests.gateway.world import DOCS, EPOCHS, World
from tests.patience import until

TWO = ("--leg", EPOCHS, "2", "0.00002", "--leg", EPOCHS, "3", "0.00006")


async def made(world: World, folder: Path, *words: str) -> dict[str, Any]:
    """What `keyfill bundle create` tells."""
    code, output = await keyfill(world, folder, "bundle", "create", *words, "--json")
    assert code == 0, output
    # With --wait, what it waits for is said first, on standard error.
    told: dict[str, Any] = msgspec.json.decode(output[output.index("{") :])
    return told


async def test_all_of_a_bundle_is_signed_shown_and_cancelled(world: World, tmp_path: Path) -> None:
    """As it was asked for: each leg in full, and none of it held once it is withdrawn."""
    ledger = world.gateway.state.ledger
    rich = ledger.available(alice.address, world.market.signing.assets.usdc)
    told = await made(world, tmp_path, *TWO)
    assert (told["buys"], told["outcome"]) == ("all or nothing", "open")
    legs = [world.gateway.state.intents[leg["digest"]] for leg in told["legs"]]
    assert [(leg.units, leg.units_min, leg.limit) for leg in legs] == [(2, 2, 20), (3, 3, 60)]
    code, output = await keyfill(world, tmp_path, "bundle", "show", told["digest"], columns=60)
    assert code == 0
    assert told["digest"] in output
    assert all(leg.digest in output for leg in legs)
    code, output = await keyfill(world, tmp_path, "bundle", "cancel", told["digest"], "--json")
    assert (code, msgspec.json.decode(output)["outcome"]) == (0, "over")
    assert ledger.available(alice.address, world.market.signing.assets.usdc) == rich


async def test_an_any_of_has_its_floor_and_its_time(world: World, tmp_path: Path) -> None:
    """Terms that only a bundle has, and a start that is given in a zone."""
    begins = datetime.now(UTC) + timedelta(hours=2)
    told = await made(
        world,
        tmp_path,
        *TWO,
        "--any-of",
        "--all-or-none",
        "--success-min",
        "950",
        "--latency-max",
        "800",
        "--minutes",
        "5",
        "--not-before",
        begins.isoformat(),
    )
    assert (told["success min"], told["latency max"]) == (950, 800)
    bundle = world.gateway.state.bundles.by_digest[told["digest"]]
    assert (bundle.any_of, bundle.floor) == (True, Floor(success_min=950, latency_max=800))
    for leg in (world.gateway.state.intents[digest] for digest in bundle.legs):
        assert leg.units_min == leg.units
        assert abs(leg.starts_ms - begins.timestamp() * 1_000) < 3_000
        assert leg.until_ms - leg.starts_ms == 300_000


async def test_waiting_tells_what_was_filled_of_an_any_of(world: World, tmp_path: Path) -> None:
    """The command goes on when one leg is, and says which; without a fill it fails."""
    waiting = asyncio.create_task(made(world, tmp_path, *TWO, "--any-of", "--wait"))
    await until(lambda: len(world.gateway.state.intents) == 2)
    first, _ = world.gateway.state.intents
    await auctioned(world, (first, 2))
    told = await waiting
    assert told["outcome"] == "filled"
    assert [leg["filled"] for leg in told["legs"]] == ["2/2", "0/3"]


async def test_what_recurs_is_bought_in_each_period(world: World, tmp_path: Path) -> None:
    """One intent a day over one signature, also by an account that ended an epoch before."""
    await world.chain(EpochBumped(account=alice.address, epoch=3))
    begins = datetime.now(UTC) + timedelta(days=1)
    words = ("--units", "10", "--limit", "0.0001", "--times", "3", "--not-before")
    code, output = await keyfill(
        world, tmp_path, "intent", "recurring", EPOCHS, *words, begins.isoformat(), "--json"
    )
    assert code == 0, output
    rows = msgspec.json.decode(output)
    assert [row["result"] for row in rows] == ["accepted"] * 3
    intents = [world.gateway.state.intents[row["digest"]] for row in rows]
    assert all(before.until_ms == after.starts_ms for before, after in pairwise(intents))
    assert {intent.until_ms - intent.starts_ms for intent in intents} == {86_400_000}
    assert len({intent.signature for intent in intents}) == 1
    assert datetime.fromisoformat(rows[0]["from"]).timestamp() * 1_000 == intents[0].starts_ms


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("bundle", "create", *TWO[:4] * 17), "a bundle has 1 to 16 legs"),
        (("bundle", "create", *TWO, "--success-min", "1001"), "--success-min is 0 to 1,000"),
        (("bundle", "create", *TWO, "--latency-max", "-1"), "--latency-max is 0 to 600,000"),
        (("bundle", "create", *TWO, "--minutes", "0"), "--minutes is 1 to"),
        (("bundle", "create", *TWO, "--leg", EPOCHS, "0", "1"), f"UNITS of {EPOCHS} is 1 to"),
        (("bundle", "create", *TWO, "--leg", EPOCHS, "1", "ten"), "no amount of USDC"),
        (("bundle", "create", *TWO, "--leg", DOCS, "1", "0.01"), "bundle_needs_epochs"),
        (("bundle", "create", *TWO, "--leg", EPOCHS, "1", "9000"), "insufficient_funds"),
        (("bundle", "create", *TWO, "--not-before", "2020-01-01"), "not within the next year"),
        (("bundle", "show", "0x12"), "is no id of a bundle"),
        (("bundle", "cancel", "0x" + "ab" * 32), "not_found"),
        (
            ("intent", "recurring", DOCS, "--units", "1", "--limit", "1", "--times", "400"),
            "--every-minutes is 1 to",
        ),
        (
            ("intent", "create", DOCS, "--units", "1", "--limit", "1", "--not-before", "x"),
            "--not-before: unable",
        ),
    ],
)
async def test_what_cannot_be_bought_so_is_said(
    world: World, tmp_path: Path, words: tuple[str, ...], told: str
) -> None:
    """One line in the words of the command, and nothing is bought."""
    code, output = await keyfill(world, tmp_path, *words)
    assert (code > 0, told in output.replace("\n", " ")) == (True, True), output
    assert "Traceback" not in output
    assert not world.gateway.state.intents
