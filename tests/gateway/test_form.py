"""Whatever is sent, the answer is an error of ours, never a 5xx, and the state stays."""

import asyncio
import sys
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from intents.reject import Reject, RejectCode
from solver.gateway import door
from solver.gateway.wire import IntentBody
from solver.verifier.decode import CONTAINERS_MAX, DEPTH_MAX, decode_json, parse_json
from tests.builder import alice, an_intent
from tests.gateway.test_reject import body_of
from tests.gateway.world import BODY_LIMIT, GENEROUS, World, a_world
from tests.patience import patiently

DEEP = b"[" * 60_000
CORPUS: list[bytes] = [
    b"",
    b"null",
    b"[]",
    b"0",
    b'"x"',
    b"{}",
    b"{",
    b"\xff\xfe{}",
    b"\xef\xbb\xbf{}",
    b'{"document":"\xc3\x28"}',
    b'{"document":"\\ud800"}',
    b'{"document":{"account":"\\ud800"},"signature":"0x"}',
    b'{"\\udfff":1}',
    b'{"document":NaN}',
    b'{"document":Infinity}',
    b'{"document":1e999}',
    b'{"document":' + b"9" * 5_000 + b"}",
    b'{"document":{}}',
    b'{"document":{},"signature":null}',
    b'{"document":{},"signature":"0x","extra":1}',
    b'{"document":{},"document":{},"signature":"0x"}',
    DEEP,
    b'{"a":' * 9_000,
    b"[" * 33 + b"]" * 33,
    b'{"document": {"account": "' + b"\xd0\xb0" * 40 + b'"}}',
    "{“document”: {}}".encode(),
    '{"document": {}}'.encode("utf-16"),
    b"a" * 65_536,
    b"\x00" * 100,
    b"<xml/>",
]
POSTED = ("/v1/intents", "/v1/offers")
SIGNED_POSTS = ("/v1/leases/grant", "/v1/leases/end", "/v1/keys/contribute")


async def test_no_body_of_the_corpus_gets_a_5xx(world: World) -> None:
    """Bad UTF-8, depth, sizes, types, repeats and confusables are all the sender's error."""
    before = world.state_hash()
    grant = world.gateway.grants.issue("0x" + "ab" * 32, world.sequencer.now_ms() + 10_000)
    for sent in CORPUS:
        answers = [await world.raw("POST", path, sent) for path in POSTED]
        for path in SIGNED_POSTS:
            header = world.header(alice, "POST", path, sent)
            answers.append(await world.raw("POST", path, sent, Keyfill_Request=header))
        answers.append(
            await world.raw("POST", "/v1/keys/proxy", sent, Authorization=f"Bearer {grant}")
        )
        for status, told, _ in answers:
            assert 400 <= status < 500, (sent[:40], told)
            assert told["code"] in ("malformed", "unsupported_media_type"), sent[:40]
    assert world.state_hash() == before


NESTED = [b"[" * 65_536, b"[" * 32_768 + b"]" * 32_768, (b'{"a":' * 13_107)[:65_536]]


@pytest.mark.parametrize("sent", NESTED)
async def test_brackets_to_the_body_limit_are_malformed(world: World, sent: bytes) -> None:
    """64 KiB of brackets, with the interpreter's own recursion limit, end in a 400."""
    before, recursion_max = world.state_hash(), sys.getrecursionlimit()
    sys.setrecursionlimit(1_000)
    try:
        answers = [await world.raw("POST", path, sent) for path in POSTED]
        for path in SIGNED_POSTS:
            header = world.header(alice, "POST", path, sent)
            answers.append(await world.raw("POST", path, sent, Keyfill_Request=header))
    finally:
        sys.setrecursionlimit(recursion_max)
    assert len(sent) <= BODY_LIMIT
    assert {(status, told["code"]) for status, told, _ in answers} == {(400, "malformed")}
    assert (await world.raw("GET", "/healthz"))[0] == 200
    assert world.state_hash() == before


NAMES = ("account", "resource", "asset", "units", "limit", "validUntil", "nonce")
WRONG: list[Any] = [None, -1, 1.5, 2**53, 2**64, 10**40, True, "", "1", "0x", [], {}, "\u202e"]
MUTANTS: list[tuple[str, Any]] = [
    *((name, value) for name in NAMES for value in WRONG),
    ("account", "0x" + "g" * 40),
    ("account", "0x" + "\u0430" * 40),
    ("resource", "x" * 5_000),
    ("unknown", 1),
]


async def test_no_mutation_of_a_valid_intent_gets_through_or_a_5xx(world: World) -> None:
    """One field at a time of every wrong kind: refused with a 4xx."""
    valid = body_of(world, an_intent(), alice)
    before = world.state_hash()
    for name, value in MUTANTS:
        document = valid["document"] | {name: value}
        raw = msgspec.json.encode(valid | {"document": document})
        status, told, _ = await world.raw("POST", "/v1/intents", raw)
        assert 400 <= status < 500, (name, value, told)
    for name in NAMES:
        document = {key: kept for key, kept in valid["document"].items() if key != name}
        raw = msgspec.json.encode(valid | {"document": document})
        status, told, _ = await world.raw("POST", "/v1/intents", raw)
        assert 400 <= status < 500, (name, told)
    assert world.state_hash() == before
    assert (await world.raw("POST", "/v1/intents", msgspec.json.encode(valid)))[0] == 201


async def test_addresses_of_any_case_are_the_same_account(world: World) -> None:
    """Checksummed or upper-case hex is lower-cased on entry; the signature still holds."""
    valid = body_of(world, an_intent(), alice)
    document = valid["document"]
    shouting = document | {name: "0x" + document[name][2:].upper() for name in ("account", "asset")}
    domain = valid["domain"] | {"verifyingContract": "0X" + "5E" * 20}
    raw = msgspec.json.encode(valid | {"document": shouting, "domain": domain})
    status, told, _ = await world.raw("POST", "/v1/intents", raw)
    assert (status, told["account"]) == (201, alice.address)
    status, again, _ = await world.raw("GET", f"/v1/intents/0X{told['digest'][2:].upper()}")
    assert (status, again["digest"]) == (200, told["digest"])


TARGETS = [
    "/v1/intents/0x" + "zz" * 32,
    "/v1/batches/-1",
    "/v1/batches/99999999999999999999",
    "/v1/batches/٣",
    "/v1/auctions/1e3",
    "/v1/book",
    "/v1/book?resource=" + "a" * 200,
    "/v1/book?resource=%ff%fe",
    "/v1/book?resource=a&depth=0",
    "/v1/book?resource=a&depth=1.5",
    "/v1/intents?account=0x12",
    "/v1/intents?account=0x" + "ab" * 20 + "&limit=1e9",
    "/v1/intents?account=0x" + "ab" * 20 + "&after=x",
    "/v1/fills?intent=0x12&account=0x12",
    "/v1/feed?cursor=-1",
    "/v1/feed?cursor=" + "9" * 400,
    "/v1/feed?account=%00",
    "/v1/keys/capacity?resource=%0d%0a",
    "/v1/proxy/datasette/../../secret",
    "/v1/proxy/%2e%2e/a",
    "/v1/proxy//a",
    "//v1/market",
    "/v1/market/",
    "/v1/market%00",
    "/%",
    "/" + "a" * 4_000,
]


async def test_no_target_gets_a_5xx(world: World) -> None:
    """Paths and queries of every wrong kind are the sender's error."""
    for target in TARGETS:
        status, told, _ = await world.raw("GET", target)
        assert 400 <= status < 500, (target, told)


@pytest.mark.parametrize(
    "header",
    [
        "",
        "x",
        "====",
        "e30=",
        "e30",
        "bnVsbA==",
        "W10=",
        "/+//",
        "eyJhIjoxfQ==",
        "A" * 6_145,
        "eyJhY2NvdW50IjoxfQ",
        "_-_-",
    ],
)
async def test_no_header_gets_more_than_unauthenticated(world: World, header: str) -> None:
    """Whatever the header says, the code is the same and the request is answered."""
    status, told, headers = await world.raw("GET", "/v1/balance", Keyfill_Request=header)
    assert (status, told["code"]) == (401, "unauthenticated")
    assert "www-authenticate" in headers


async def test_two_headers_are_none(world: World) -> None:
    """A request signed by two is signed by nobody."""
    header = world.header(alice, "GET", "/v1/balance")
    sent = [("Keyfill-Request", header), ("Keyfill-Request", header)]
    async with world.http.get(f"{world.url}/v1/balance", headers=sent) as response:
        assert (await response.json())["code"] == "unauthenticated"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.binary(max_size=200) | json_values.map(lambda value: repr(value).encode()))
def test_parsing_never_raises(raw: bytes) -> None:
    """Any bytes are a value or a Reject."""
    value = parse_json(raw)
    assert not isinstance(value, Reject) or value.code is RejectCode.MALFORMED


@given(json_values)
def test_what_is_parsed_can_be_encoded_again(value: object) -> None:
    """Nothing that passes has text or numbers that cannot be written, logged or journaled."""
    try:
        raw = msgspec.json.encode(value)
    except (UnicodeEncodeError, OverflowError):
        return
    parsed = parse_json(raw)
    if not isinstance(parsed, Reject):
        msgspec.json.encode(parsed)


def test_depth_is_bounded() -> None:
    """One level more than allowed is refused; allowed depth passes."""
    assert not isinstance(parse_json("[" * DEPTH_MAX + "]" * DEPTH_MAX), Reject)
    too_deep = parse_json("[" * (DEPTH_MAX + 1) + "]" * (DEPTH_MAX + 1))
    assert isinstance(too_deep, Reject)


@pytest.mark.parametrize("bearer", [None, "Bearer nonsense"])
async def test_a_call_without_a_grant_is_not_looked_at(
    world: World, bearer: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A body may be large: who has no grant cannot have the market spend time on one."""

    def looked_at(*_: object, **__: object) -> None:
        pytest.fail("it was decoded")

    monkeypatch.setattr(door, "read_call", looked_at)
    header = {} if bearer is None else {"Authorization": bearer}
    raw = b'{"method":"GET","path":"/","body":[%b]}' % b",".join([b"{}"] * 20_000)
    status, told, headers = await world.raw("POST", "/v1/keys/proxy", raw, **header)
    assert (status, told["code"]) == (401, "unauthenticated")
    assert headers["x-should-retry"] == "false"


async def test_a_body_of_ours_has_few_values(world: World) -> None:
    """Nor has a signer time to waste: what no body of the route can hold is not parsed."""
    body: dict[str, Any] = {"intent": [{}] * 100}
    status, told, _ = await world.signed(alice, "POST", "/v1/leases/grant", body)
    assert (status, told["code"]) == (400, "malformed")
    assert "objects and arrays" in told["message"]


def test_values_are_bounded() -> None:
    """As many objects and arrays as allowed pass, in bytes or text; one more is refused."""
    for extra, refused in ((0, False), (1, True)):
        text = "[" + ",".join(["[]"] * (CONTAINERS_MAX - 1 + extra)) + "]"
        for raw in (text, text.encode()):
            assert isinstance(decode_json(raw, list[list[int]]), Reject) is refused


@settings(suppress_health_check=[HealthCheck.filter_too_much])
@given(st.text(max_size=80))
def test_only_hashes_pass_as_hashes(text: str) -> None:
    """A field that names an intent is 32 bytes of lower-case hex, or refused."""
    decoded = decode_json(msgspec.json.encode({"intent": text.replace("\ud800", "")}), IntentBody)
    assert isinstance(decoded, Reject) or decoded.intent == text.lower()


async def test_a_body_that_trickles_is_given_up() -> None:
    """A body that does not come in time is refused; the connection is not held."""
    hasty = msgspec.structs.replace(GENEROUS, body_seconds_max=0.5)
    async with a_world(limits=hasty) as world:
        reader, writer = await asyncio.open_connection("127.0.0.1", world.port)
        writer.write(
            b"POST /v1/intents HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Content-Length: 100\r\n\r\n{"
        )
        async with patiently():
            answer = await reader.readuntil(b"}")
        assert b"400 Bad Request" in answer
        assert b"did not come" in answer
        writer.close()


async def test_framing_that_two_servers_could_read_differently_is_refused(world: World) -> None:
    """Length and chunks at once, a bare line feed, a folded header: 400, in our form."""
    for head in (
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"Content-Length: +5\r\n\r\nhello",
        b"A: b\r\n c\r\nX\x00: y\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"A: " + b"x" * 9_000 + b"\r\n\r\n",
        b"".join(b"H%d: x\r\n" % number for number in range(200)) + b"\r\n",
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", world.port)
        writer.write(b"POST /v1/intents HTTP/1.1\r\nHost: x\r\n" + head)
        async with patiently():
            answer = await reader.read(4_000)
        writer.close()
        assert answer[:10] in (b"HTTP/1.1 4", b"HTTP/1.0 4"), (head[:60], answer[:80])
        assert b"erver:" not in answer.split(b"\r\n\r\n")[0]
        assert b'"code"' in answer
