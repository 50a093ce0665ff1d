"""The OpenAPI document is valid and true: every route, every answer, every line is as it says."""

from typing import Any

import jsonschema  # type: ignore[import-untyped]
import msgspec
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from solver.client import Purchase
from solver.core.command import CutBatch, CutMetered, OpenAuction, SetMetering
from solver.core.event import Event, SolutionAccepted
from solver.gateway import openapi
from solver.gateway.line import LINE_TYPES, line_of
from solver.gateway.route import Route
from solver.gateway.table import ROUTES
from tests.builder import USDC, alice, an_intent, an_offer, bob, carol, dave
from tests.gateway.test_mandate import a_mandate, as_sent
from tests.gateway.test_reject import body_of
from tests.gateway.world import DOCS, EPOCHS, World
from tests.judging import SEED
from tests.patience import patience_s


def strict(document: dict[str, Any]) -> dict[str, Any]:
    """The same document in which no object may have more than it says."""
    schemas = document["components"]["schemas"]
    closed = {
        name: schema | {"additionalProperties": False}
        if schema.get("type") == "object" and "properties" in schema
        else schema
        for name, schema in schemas.items()
    }
    return {**document, "components": {"schemas": closed}}


def assert_matches(document: dict[str, Any], schema: dict[str, Any], value: object) -> None:
    """The value is what the schema says, no more and no less."""
    jsonschema.validate(value, {**strict(document), **schema})


async def served(world: World) -> dict[str, Any]:
    """The document as the server gives it."""
    status, document, _ = await world.raw("GET", openapi.PATH)
    assert status == 200
    return document


async def test_the_document_is_valid_openapi(world: World) -> None:
    """It passes the OpenAPI 3.1 validator, as it is served."""
    OpenAPIV31SpecValidator(await served(world)).validate()


async def test_routes_and_document_are_the_same_set(world: World) -> None:
    """Every route is described, and at each path just the described methods are served."""
    document = await served(world)
    described = {
        (method.upper(), path) for path, item in document["paths"].items() for method in item
    }
    assert described == {
        ("GET", openapi.PATH),
        *((route.method, route.path) for route in ROUTES),
    }
    named = {"digest": "0x" + "Ab" * 32, "number": "7", "provider": "datasette", "path": "a/b%20c"}
    for path, item in document["paths"].items():
        status, told, headers = await world.raw("OPTIONS", path.format_map(named))
        assert (status, told["code"]) == (405, "method_not_allowed")
        assert headers["allow"] == ",".join(sorted(method.upper() for method in item))


async def test_the_document_says_what_a_withdrawn_mandate_still_is(world: World) -> None:
    """That the market alone forgets it, and how it is ended on chain."""
    operation = (await served(world))["paths"]["/v1/mandates/{digest}"]["delete"]
    for words in ("on chain", "validUntil", "cancel(nonce)", "cancelAll()", "exit delay"):
        assert words in operation["description"]


LEG = Purchase(resource=EPOCHS, units=1, limit=1)
EXAMPLES: dict[str, str] = {
    "GET /healthz": "/healthz",
    "GET /v1/eip712": "/v1/eip712",
    "GET /v1/market": "/v1/market",
    "GET /v1/providers": "/v1/providers",
    "GET /v1/intents": "/v1/intents?account={alice}&limit=1",
    "GET /v1/intents/{digest}": "/v1/intents/{intent}",
    "GET /v1/offers": "/v1/offers?account={bob}",
    "GET /v1/offers/{digest}": "/v1/offers/{offer}",
    "GET /v1/book": "/v1/book?resource=" + DOCS,
    "GET /v1/fills": "/v1/fills?account={bob}",
    "GET /v1/leases": "/v1/leases?intent={intent}",
    "GET /v1/receipts": "/v1/receipts?intent={intent}",
    "GET /v1/batches": "/v1/batches",
    "GET /v1/batches/{number}": "/v1/batches/0",
    "GET /v1/batches/{number}/leaves": "/v1/batches/1/leaves",
    "GET /v1/spending": "/v1/spending?account={alice}",
    "GET /v1/auctions": "/v1/auctions?limit=1",
    "GET /v1/solvers": "/v1/solvers",
    "GET /v1/auctions/{number}": "/v1/auctions/{auction}",
    "GET /v1/keys": "/v1/keys",
    "GET /v1/keys/capacity": "/v1/keys/capacity",
    "GET /v1/balance": "/v1/balance",
    "GET /v1/keys/balance": "/v1/keys/balance",
    "GET /v1/keys/health": "/v1/keys/health?key={key}",
    "GET /v1/mandates/{digest}": "/v1/mandates/{mandate}",
    "GET /v1/bundles/{digest}": "/v1/bundles/{bundle}",
}


async def furnished(world: World) -> dict[str, str]:
    """A world with one of everything; the names that the examples use."""
    await world.granting(dave, alice)
    await world.offering(bob)
    intent = await world.agent(alice).intent(DOCS, units=2, limit=200)
    waiting = await world.agent(alice).intent(DOCS, units=50, limit=50)
    await intent.call("GET", "/a")
    await intent.done()
    await world.do(CutBatch(fills_max=1))
    await _metered(world)
    await world.offering(bob, units=5, limit=50, resource=EPOCHS)
    await world.agent(alice).intent(EPOCHS, units=5, limit=100)
    closes = world.sequencer.now_ms() + 30_000
    await world.do(OpenAuction(resources=(EPOCHS,), asset=USDC, closes_at_ms=closes, seed=SEED))
    state = world.gateway.state
    assert waiting.state.status == "open"
    return {
        "alice": alice.address,
        "bob": bob.address,
        "intent": intent.digest,
        "offer": next(iter(state.offers)),
        "key": next(iter(state.keys)),
        "auction": str(next(iter(state.auctions))),
        "mandate": (await world.agent(alice).mandate(limit=1, tick_max=1)).digest,
        "bundle": (await world.agent(alice).buy_bundle([LEG, LEG])).digest,
    }


async def _metered(world: World) -> None:
    """A metered batch, and after it a receipt and something that is owed beyond it."""
    await world.do(SetMetering(payment_max=100, uncovered_max=100))
    agent = world.agent(alice)
    for place in range(3):
        bought = await agent.intent(DOCS, units=1, limit=100)
        await bought.call("GET", "/a")
        if place < 2:
            await agent.spending.sign(trusting=True)
        if not place:
            await world.do(CutMetered(fills_max=1, unsigned_ms=0))


def schema_of(document: dict[str, Any], route: Route) -> dict[str, Any]:
    """The schema of a route's answer."""
    responses = document["paths"][route.path][route.method.lower()]["responses"]
    schema: dict[str, Any] = responses[str(route.status)]["content"]["application/json"]["schema"]
    return schema


async def check_answers(world: World) -> None:
    """Every GET answers what its schema says."""
    document, names = await served(world), await furnished(world)
    for route in ROUTES:
        if route.told is None or route.method != "GET":
            continue
        target = EXAMPLES[f"GET {route.path}"].format(**names)
        who = bob if "health" in target else alice
        if route.signed:
            status, told, _ = await world.signed(who, "GET", target)
        else:
            status, told, _ = await world.raw("GET", target)
        assert status == 200, (target, told)
        assert_matches(document, schema_of(document, route), told)


async def test_every_answer_is_what_the_document_says(world: World) -> None:
    """Real answers against their schemas, without a field more or less."""
    await check_answers(world)


PLANTED: list[dict[str, Any]] = [
    {"extra": 1},
    {"timeMs": "now"},
    {"resources": [{"resource": DOCS}]},
    {"chain": {"cursor": 1, "blockHash": "", "extra": 1}},
]


@pytest.mark.parametrize("planted", PLANTED)
async def test_an_answer_that_differs_would_be_noticed(
    world: World, planted: dict[str, Any]
) -> None:
    """The check above fails for a field too many, one too few, and a wrong type."""
    document = await served(world)
    (route,) = [route for route in ROUTES if route.path == "/v1/market"]
    _, told, _ = await world.raw("GET", route.path)
    assert_matches(document, schema_of(document, route), told)
    with pytest.raises(jsonschema.ValidationError):
        assert_matches(document, schema_of(document, route), told | planted)


async def test_posts_answer_what_the_document_says(world: World) -> None:
    """Intents, offers, keys, grants and results against their schemas."""
    document = await served(world)
    by_path = {(route.method, route.path): route for route in ROUTES}
    body = {"provider": "datasette", "secret": "sk"}
    _, pooled, _ = await world.signed(bob, "POST", "/v1/keys/contribute", body)
    contribute = by_path["POST", "/v1/keys/contribute"]
    assert_matches(document, schema_of(document, contribute), pooled)
    market = world.market
    offer = await market.request(
        "POST", "/v1/offers", dict, body=await signed_offer(world, pooled["key"]), repeatable=False
    )
    assert_matches(document, schema_of(document, by_path["POST", "/v1/offers"]), offer)
    intent = await world.agent(alice).intent(DOCS, units=1, limit=100)
    for path in ("/v1/leases/grant", "/v1/leases/end"):
        status, told, _ = await world.signed(alice, "POST", path, {"intent": intent.digest})
        assert status == 200
        assert_matches(document, schema_of(document, by_path["POST", path]), told)


async def test_many_answer_what_the_document_says(world: World) -> None:
    """Outcomes, mandates and their secrets against their schemas, refusals among them."""
    document = await served(world)
    by_path = {(route.method, route.path): route for route in ROUTES}
    agent = world.agent(alice)
    good, bad = body_of(world, an_intent(), alice), {"document": 1}
    _, told, _ = await world.raw("POST", "/v1/intents/batch", msgspec.json.encode([good, bad]))
    assert len(told["outcomes"]) == 2
    assert_matches(document, schema_of(document, by_path["POST", "/v1/intents/batch"]), told)
    mandate = await agent.mandate(limit=1_000, tick_max=10**9)
    route = by_path["POST", "/v1/mandates"]
    assert_matches(document, schema_of(document, route), msgspec.to_builtins(await again(world)))
    status, ended, _ = await world.signed(alice, "DELETE", f"/v1/mandates/{mandate.digest}")
    assert status == 200
    route = by_path["DELETE", "/v1/mandates/{digest}"]
    assert_matches(document, schema_of(document, route), ended)


async def again(world: World) -> dict[str, Any]:
    """What the registration of a mandate answers."""
    sent = as_sent(a_mandate(world))
    return (await world.signed(alice, "POST", "/v1/mandates", sent))[1]


async def test_the_intake_tells_what_the_document_says(world: World) -> None:
    """Answers and refusals on the intake socket match one described type each."""
    document = await served(world)
    told = {"oneOf": document["paths"]["/v1/intake"]["get"]["x-told"]}
    good = msgspec.json.encode(body_of(world, an_intent(), alice))
    async with world.http.ws_connect(f"{world.url}/v1/intake") as socket:
        for message in (b'{"id":1,"take":"intent"}\n' + good, b"nonsense"):
            await socket.send_bytes(message)
            assert_matches(document, told, await socket.receive_json(timeout=patience_s()))


async def signed_offer(world: World, key: str) -> dict[str, Any]:
    """An offer as it is sent."""
    return body_of(world, an_offer().from_key(key).units(5).limit(5), bob)


async def test_errors_are_what_the_document_says(world: World) -> None:
    """An error has the described form, a code of the list, and a described status."""
    document = await served(world)
    for target, path in (
        ("/v1/market?x=1", "/v1/market"),
        ("/v1/batches/99", "/v1/batches/{number}"),
        ("/v1/balance", "/v1/balance"),
        ("/v1/proxy/datasette/a", "/v1/proxy/{provider}/{path}"),
    ):
        status, told, _ = await world.raw("GET", target)
        response = document["paths"][path]["get"]["responses"][str(status)]
        assert_matches(document, response["content"]["application/json"]["schema"], told)
        assert told["code"] in response["description"].split(", ")


async def test_sockets_tell_what_the_document_says(world: World) -> None:
    """Lines of the feed and messages to solvers match one described type each."""
    document = await served(world)
    await furnished(world)
    feed = {"oneOf": document["paths"]["/v1/feed"]["get"]["x-told"]}
    for entry in world.gateway.feed.after(0, 10_000):
        assert_matches(document, feed, msgspec.json.decode(msgspec.json.encode(line_of(entry))))
    solve = {"oneOf": document["paths"]["/v1/solve"]["get"]["x-told"]}
    async with world.solver(carol).connect() as desk:
        auction = await anext(aiter(desk))
    shown = (await world.raw("GET", f"/v1/auctions/{auction.number}"))[1]
    message = {
        "type": "auction",
        "auction": auction.number,
        "snapshot": shown["snapshot"],
        "snapshotHash": shown["snapshotHash"],
    }
    assert_matches(document, solve, message)


def test_every_event_has_a_line() -> None:
    """An event class that is added to the core is told by the feed; sealed bids alone are not."""
    assert {*LINE_TYPES, SolutionAccepted} == set(Event.__subclasses__())
    assert SolutionAccepted not in LINE_TYPES
    tags = [msgspec.structs.fields(kind) for kind in LINE_TYPES.values()]
    assert all(fields[0].encode_name == "seq" for fields in tags)
