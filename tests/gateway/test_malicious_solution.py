"""A solution that wins, and what a malicious solver could say in its place.

Each mutation goes through the solvers' WebSocket of a market that runs, and those that are in
form straight into its core too, as a solver might that is let past the gateway. Each is
refused with one exact code, at once or by its verdict, and nothing is filled. What would
harm if core and gateway were wrong names the contract's test that it meets on chain.
"""

import re
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

from intents.bound import TICK_MAX, UNITS_MAX
from intents.reject import Reject
from intents.reject import RejectCode as R
from solver.core.auction import SOLUTIONS_PER_SOLVER_MAX
from solver.core.command import ClearedBook, ProposeSolution
from solver.core.judge import judge
from tests.builder import carol, dave
from tests.gateway.bidding import TICK, Message, Stage, answered, bidding, closed, staged
from tests.gateway.world import DOCS, EPOCHS, World

CONTRACTS: Final = Path(__file__).parents[2] / "contracts" / "test"
UNKNOWN: Final = "0x" + "ab" * 32
MUTATIONS_MIN: Final = 40


class Mutation(msgspec.Struct, frozen=True, kw_only=True):
    """What is said instead, how it is refused, and the contract's test of the same."""

    said: Callable[[Stage, Message], Any]
    code: R
    contract: str = ""


def put(*path: str | int, value: Any) -> Callable[[Stage, Message], Any]:
    """One place of the message says this; a name on the stage stands for its id."""

    def said(stage: Stage, message: Message) -> Message:
        inner: Any = message
        for step in path[:-1]:
            inner = inner[step]
        inner[path[-1]] = stage.ids.get(value, value) if isinstance(value, str) else value
        return message

    return said


def fill(**changes: Any) -> Callable[[Stage, Message], Any]:
    """The one fill says this."""

    def said(stage: Stage, message: Message) -> Message:
        for name, value in changes.items():
            put("books", 0, "fills", 0, name, value=value)(stage, message)
        return message

    return said


def also(**changes: Any) -> Callable[[Stage, Message], Any]:
    """A second fill beside the first, different by this."""

    def said(stage: Stage, message: Message) -> Message:
        first, second = deepcopy(message), deepcopy(message)
        fill(**changes)(stage, second)
        first["books"][0]["fills"] += second["books"][0]["fills"]
        return first

    return said


def text(old: str, new: str) -> Callable[[Stage, Message], Any]:
    """The JSON itself says something else, once."""

    def said(_: Stage, message: Message) -> str:
        sent = msgspec.json.encode(message).decode()
        assert sent.count(old) == 1
        return sent.replace(old, new)

    return said


def twice(stage: Stage, message: Message) -> Message:
    """The book again, with other orders at another price."""
    pair = {"intent": stage.ids["whole"], "offer": stage.ids["second"], "units": 4}
    message["books"].append({"resource": EPOCHS, "tick": TICK + 1, "fills": [pair]})
    return message


def many(_: Stage, message: Message, *, fills: int = 1, books: int = 1) -> Message:
    """More of the same than a solution may have."""
    message["books"][0]["fills"] *= fills
    message["books"] *= books
    return message


def both(name: str, *, units: int = 1) -> Callable[[Stage, Message], Any]:
    """Both legs of a bundle and nothing else, so many units of the second."""

    def said(stage: Stage, message: Message) -> Message:
        message["books"][0]["fills"] = [
            {"intent": stage.ids[f"{name} {place}"], "offer": stage.ids["seller"], "units": one}
            for place, one in enumerate((1, units))
        ]
        return message

    return said


FORM: Final[dict[str, Mutation]] = {
    name: Mutation(said=said, code=R.MALFORMED)
    for name, said in {
        "units are a whole float": text('"units":5', '"units":5.0'),
        "units are a fraction": text('"units":5', '"units":4.5'),
        "units are an exponent": text('"units":5', '"units":5e0'),
        "units are not a number": text('"units":5', '"units":NaN'),
        "units are text": text('"units":5', '"units":"5"'),
        "units are true": text('"units":5', '"units":true'),
        "units are null": text('"units":5', '"units":null'),
        "units are below zero": fill(units=-5),
        "units beyond their most": fill(units=UNITS_MAX + 1),
        "units beyond 64 bits": fill(units=2**64 + 5),
        "units of a thousand digits": text('"units":5', '"units":' + "9" * 1_000),
        "the price is a float": text('"tick":15000000', '"tick":15000000.0'),
        "the price is true": text('"tick":15000000', '"tick":true'),
        "the price is below zero": put("books", 0, "tick", value=-1),
        "the price is beyond its most": put("books", 0, "tick", value=TICK_MAX + 1),
        "the auction is below zero": put("auction", value=-1),
        "an unknown field": put("priority", value=1),
        "in another solver's name": put("solver", value=dave.address),
        "an unknown field of a book": put("books", 0, "ticks", value=[1]),
        "an unknown field of a fill": fill(price=1),
        "a field twice": text('"auction":', '"auction":1,"auction":'),
        "units twice": text('"units":5', '"units":1,"units":5'),
        "books twice": text('"books":', '"books":[],"books":'),
        "no snapshot": text('"snapshot":', '"snap":'),
        "another type": put("type", value="award"),
        "books are an object": put("books", value={}),
        "fills are null": put("books", 0, "fills", value=None),
        "too many books": lambda stage, message: many(stage, message, books=257),
        "too many fills": lambda stage, message: many(stage, message, fills=4_097),
        "an id in capitals": fill(intent=UNKNOWN.upper()),
        "an id that is short": fill(intent=UNKNOWN[:-1]),
        "an id that goes on": fill(intent=UNKNOWN + "\n"),
        "a list": lambda _, message: [message],
        "nothing": lambda _s, _m: "",
        "no JSON": lambda _s, _m: "{'type': 'solution'}",
        "two messages in one": text('"type"', '"type":"solution"}{"type"'),
        "brackets without an end": lambda _s, _m: "[" * 100_000,
        "half a character": text('"resource":"', '"resource":"\\ud800'),
        "bytes": lambda _, message: msgspec.json.encode(message),
    }.items()
}

ALONE: Final[dict[str, Mutation]] = {
    "another snapshot": Mutation(said=put("snapshot", value=UNKNOWN), code=R.SNAPSHOT_MISMATCH),
    "an auction that is none": Mutation(said=put("auction", value=10**6), code=R.AUCTION_UNKNOWN),
    "auction zero": Mutation(said=put("auction", value=0), code=R.AUCTION_UNKNOWN),
    "no books": Mutation(said=put("books", value=[]), code=R.SOLUTION_EMPTY),
    "no fills": Mutation(said=put("books", 0, "fills", value=[]), code=R.SOLUTION_EMPTY),
    "two prices in one book": Mutation(said=twice, code=R.FILL_DUPLICATE),
    "a pair twice": Mutation(said=also(units=1), code=R.FILL_DUPLICATE),
    "a book that is not in it": Mutation(
        said=put("books", 0, "resource", value=DOCS), code=R.RESOURCE_UNKNOWN
    ),
    "an intent that is none": Mutation(said=fill(intent=UNKNOWN), code=R.FILL_UNKNOWN_INTENT),
    "an offer that is none": Mutation(
        said=fill(offer=UNKNOWN),
        code=R.FILL_UNKNOWN_OFFER,
        contract="test_settle_skipsUnknownOffer",
    ),
    "an offer as an intent": Mutation(said=fill(intent="seller"), code=R.FILL_UNKNOWN_INTENT),
    "an intent as an offer": Mutation(said=fill(offer="buyer"), code=R.FILL_UNKNOWN_OFFER),
    "an intent of another book": Mutation(
        said=fill(intent="elsewhere"), code=R.FILL_UNKNOWN_INTENT
    ),
    "an intent cancelled before": Mutation(
        said=fill(intent="cancelled", units=1),
        code=R.FILL_UNKNOWN_INTENT,
        contract="test_cancel_bitesAfterDelay",
    ),
    "an intent cancelled meanwhile": Mutation(
        said=fill(intent="leaver", units=1),
        code=R.FILL_UNKNOWN_INTENT,
        contract="test_cancel_bitesAfterDelay",
    ),
    "an intent that expires": Mutation(
        said=fill(intent="short", units=1),
        code=R.FILL_UNKNOWN_INTENT,
        contract="test_settle_skipsExpired",
    ),
    "no units": Mutation(
        said=fill(units=0), code=R.FILL_UNITS_INVALID, contract="test_settle_skipsUnitsZero"
    ),
    "an account with itself": Mutation(
        said=fill(offer="own"), code=R.FILL_SELF_MATCH, contract="test_settle_skipsSelfMatch"
    ),
    "above the buyer's limit": Mutation(
        said=put("books", 0, "tick", value=20_000_001),
        code=R.FILL_PRICE_OUTSIDE_LIMITS,
        contract="test_settle_skipsPriceAboveLimit",
    ),
    "below the seller's limit": Mutation(
        said=put("books", 0, "tick", value=9_999_999),
        code=R.FILL_PRICE_OUTSIDE_LIMITS,
        contract="test_settle_skipsPriceBelowLimit",
    ),
    "for nothing": Mutation(
        said=put("books", 0, "tick", value=0),
        code=R.FILL_PRICE_OUTSIDE_LIMITS,
        contract="test_settle_skipsPriceBelowLimit",
    ),
    "at the highest price": Mutation(
        said=put("books", 0, "tick", value=TICK_MAX),
        code=R.FILL_PRICE_OUTSIDE_LIMITS,
        contract="test_settle_skipsPriceAboveLimit",
    ),
    "more than the intent": Mutation(
        said=fill(units=6), code=R.FILL_OVERFILL, contract="test_settle_skipsOverfilledIntent"
    ),
    "more than the intent, in two fills": Mutation(
        said=also(offer="second", units=1),
        code=R.FILL_OVERFILL,
        contract="test_settle_skipsOverfilledIntent",
    ),
    "more than the offer": Mutation(
        said=also(intent="whole", units=4),
        code=R.FILL_OVERFILL,
        contract="test_settle_skipsOverfilledOffer",
    ),
    "sums that outgrow 64 bits": Mutation(
        said=also(intent="whole", units=UNITS_MAX),
        code=R.FILL_OVERFILL,
        contract="test_settle_skipsOverfilledOffer",
    ),
    "below the minimum": Mutation(
        said=fill(intent="whole", units=3),
        code=R.FILL_BELOW_MINIMUM,
        contract="test_settle_skipsUnitsBelowMinimum",
    ),
}


BUNDLED: Final[dict[str, Mutation]] = {
    "one leg of two": Mutation(said=fill(intent="together 0", units=1), code=R.BUNDLE_SPLIT),
    "one leg of two, beside what wins": Mutation(
        said=also(intent="together 1", units=1), code=R.BUNDLE_SPLIT
    ),
    "both of an any-of": Mutation(said=both("either"), code=R.BUNDLE_SPLIT),
    "a leg twice over": Mutation(said=both("together", units=2), code=R.FILL_OVERFILL),
    "an any-of from its own account": Mutation(
        said=fill(intent="either 0", offer="own", units=1),
        code=R.FILL_SELF_MATCH,
        contract="test_settle_skipsSelfMatch",
    ),
    "from a key that nobody knows as good": Mutation(
        said=fill(intent="asking 0", units=1), code=R.FILL_BELOW_QUALITY
    ),
}

IN_FORM: Final = ALONE | BUNDLED

ON_CHAIN: Final = {
    "test_cancel_bitesAfterDelay": "Cancelled",
    "test_settle_skipsExpired": "Expired",
    "test_settle_skipsOverfilledIntent": "UnitsOverfilled",
    "test_settle_skipsOverfilledOffer": "UnitsOverfilled",
    "test_settle_skipsPriceAboveLimit": "PriceAboveLimit",
    "test_settle_skipsPriceBelowLimit": "PriceBelowLimit",
    "test_settle_skipsSelfMatch": "SelfMatch",
    "test_settle_skipsUnitsBelowMinimum": "UnitsBelowMinimum",
    "test_settle_skipsUnitsZero": "UnitsZero",
    "test_settle_skipsUnknownOffer": "UnknownOffer",
}
"""The exact reason that the contract refuses a line with, by the test of it."""


def nothing_is_filled(world: World) -> bool:
    """Whether the market has no lease."""
    return not world.gateway.state.leases


async def test_the_solution_itself_wins(world: World) -> None:
    """So what is refused below is refused for its mutation."""
    stage = await staged(world)
    async with bidding(world) as socket:
        told = await answered(socket, stage.message())
        assert told["type"] == "accepted"
        await closed(world)
        judged = await socket.receive_json(timeout=5)
    assert (judged["type"], judged["code"], judged["rank"]) == ("judged", "", 1)
    assert not nothing_is_filled(world)


@pytest.mark.parametrize("mutation", FORM.values(), ids=FORM)
async def test_what_is_out_of_form_is_refused_at_once(world: World, mutation: Mutation) -> None:
    """With its code and a message, on a socket that goes on, and no trace in the state."""
    stage = await staged(world)
    before = world.state_hash()
    async with bidding(world) as socket:
        told = await answered(socket, mutation.said(stage, stage.message()))
        assert (told["type"], told["code"]) == ("rejected", mutation.code)
        assert told["message"]
        assert world.state_hash() == before
        assert (await answered(socket, stage.message()))["type"] == "accepted"


@pytest.mark.parametrize("mutation", IN_FORM.values(), ids=IN_FORM)
async def test_what_is_in_form_is_refused_over_the_socket(world: World, mutation: Mutation) -> None:
    """At once, or by its verdict; with its code, and nothing is filled."""
    stage = await staged(world)
    async with bidding(world) as socket:
        told = await answered(socket, mutation.said(stage, stage.message()))
        await closed(world)
        if told["type"] == "accepted":
            told = await socket.receive_json(timeout=5)
    assert told["code"] == mutation.code
    assert nothing_is_filled(world)


@pytest.mark.parametrize("mutation", IN_FORM.values(), ids=IN_FORM)
async def test_the_core_refuses_the_same_by_itself(world: World, mutation: Mutation) -> None:
    """With the same code, whoever hands it over."""
    stage = await staged(world)
    told = mutation.said(stage, stage.message())
    proposal = ProposeSolution(
        auction=told["auction"],
        solver=carol.address,
        snapshot=told["snapshot"],
        books=msgspec.convert(told["books"], tuple[ClearedBook, ...]),
    )
    result = await world.sequencer.submit(proposal)
    if not isinstance(result, Reject):
        await closed(world)
        (ranked,) = judge(world.gateway.state.auctions[stage.auction]).ranking
        assert ranked.reason is not None
        result = ranked.reason
    assert result.code == mutation.code
    assert nothing_is_filled(world)


async def test_a_solution_counts_once_and_only_in_time(world: World) -> None:
    """Replayed, beyond what one solver may say, and after the close."""
    stage = await staged(world)
    async with bidding(world) as socket:
        codes = [(await answered(socket, stage.message())).get("code", "") for _ in range(2)]
        for tick in range(SOLUTIONS_PER_SOLVER_MAX):
            other = put("books", 0, "tick", value=TICK - tick - 1)(stage, stage.message())
            codes.append((await answered(socket, other)).get("code", ""))
        in_time = ["", R.SOLUTION_DUPLICATE, *[""] * (SOLUTIONS_PER_SOLVER_MAX - 1)]
        assert codes == [*in_time, R.SOLUTION_LIMIT]
        await closed(world)
        late = await world.sequencer.submit(
            ProposeSolution(
                auction=stage.auction, solver=dave.address, snapshot=stage.snapshot, books=()
            )
        )
    assert isinstance(late, Reject)
    assert late.code == R.AUCTION_CLOSED


def test_forty_mutations_and_the_contract_s_reasons_of_them() -> None:
    """As many as promised; each test that one names is there, and expects the exact reason."""
    assert len(FORM) + len(IN_FORM) >= MUTATIONS_MIN
    text = "".join(path.read_text() for path in sorted(CONTRACTS.glob("*.t.sol")))
    bodies = dict(
        re.findall(r"\n    function (test\w+)\([^)]*\)[^{]*{\n(.*?)\n    }\n", text, re.DOTALL)
    )
    named = {mutation.contract for mutation in IN_FORM.values() if mutation.contract}
    assert named == set(ON_CHAIN)
    for test, reason in ON_CHAIN.items():
        assert re.search(rf"_assertSkipped\(.*, IVerified\.SkipReason\.{reason}\)", bodies[test])
