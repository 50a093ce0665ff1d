"""Names decide what a body may do; what they hold goes on as it came, and is JSON."""

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from solver.vault.body import DEPTH_MAX, NAMES_MAX, Body, check_body
from solver.vault.template import PerCall, Resource, UsageTokens
from tests.vault.fixture import a_provider

METERING = UsageTokens()
CHAT = replace(a_provider().resources[1], metering=METERING)
PLAIN = replace(CHAT, metering=PerCall(), operations=(replace(CHAT.operations[0], require={}),))
"""Takes any object, or no body at all."""
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False, allow_infinity=False)
    # No lone surrogate: it is no text.
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text('ab\\"[{]}'), inner),
    max_leaves=12,
)


def checked(raw: bytes, resource: Resource = CHAT, left: int = 10**6) -> Body | str:
    """What becomes of a body under a resource's only operation."""
    return check_body(resource, resource.operations[0], raw, left)


def passed(raw: bytes | dict[str, Any], resource: Resource = CHAT, left: int = 10**6) -> Body:
    """A body that must pass."""
    body = checked(raw if isinstance(raw, bytes) else a_chat(**raw), resource, left)
    assert isinstance(body, Body), body
    return body


def a_chat(**fields: Any) -> bytes:
    """A body that the chat resource takes."""
    return json.dumps({"model": "small", **fields}).encode()


def nested(depth: int, inner: bytes = b"") -> bytes:
    """A body with so many arrays and objects in each other."""
    return b'{"model": "small", "a": ' + b"[" * (depth - 1) + inner + b"]" * (depth - 1) + b"}"


@pytest.mark.parametrize(
    "raw",
    [
        b'{"model": "large"}',
        b'{"model": ["small"]}',
        b'{"model": null}',
        b"{}",
        b'{"Model": "small"}',
        b'{"model": "small "}',
    ],
)
def test_a_lease_on_one_model_opens_no_other(raw: bytes) -> None:
    """The name must be there as the provider's file has it, with the text that it has."""
    assert checked(raw) == "this lease is for model = small"
    assert isinstance(checked(raw, PLAIN), Body)


@pytest.mark.parametrize(
    "raw",
    [
        b'{"model": "small", "model": "small"}',
        b'{"model": "large", "model": "small"}',
        b'{"model": "small", "Model": "large"}',
        b'{"model": "small", "mod\\u0065l": "large"}',
        b'{"model": "small", "\xc3\x89": 1, "\xc3\xa9": 1}',
        b'{"model": "small", "stream": true, "stream_options": {"a": 1, "A": 2}}',
    ],
)
def test_a_name_comes_once(raw: bytes) -> None:
    """In whatever case and spelling, up there and where we add to it: none is guessed at."""
    body = checked(raw)
    assert isinstance(body, str)
    assert "a name came twice" in body


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b" ",
        b"[]",
        b"null",
        b'"model"',
        b"{",
        b'{"model": "small"',
        b'{"model": "small"}{}',
        b'{"model": "small"} x',
        b'{"model": "small"}\x00',
        b'{"model": "small",}',
        b'{"model": "small", "a": [1,]}',
        b'{"model": "small", "a": NaN}',
        b'{"model": "small", "a": [NaN]}',
        b'{"model": "small", "a": -Infinity}',
        b'{"model": "small", "a": {"b": [01]}}',
        b'{"model": "small", "a": [1.]}',
        b'{"model": "small", "a": ["\\x"]}',
        b'{"model": "small", "a": ["\t"]}',
        b'{"model": "small", "a": ["\\ud800"]}',
        b'{"model": "small", "\\ud800": 1}',
        b'{"model": "small", "a": [tru]}',
        b'{"model": "small", "a": {1: 1}}',
        b'{"model": "small", "a": "\xff"}',
        b'{"model": "small", "a": [{"\xc0\xaf": 1}]}',
        b'{"model": "small", "a": "\xed\xa0\x80"}',
        b'\xef\xbb\xbf{"model": "small"}',
        '{"model": "small"}'.encode("utf-16"),
        b"\xff\xfe",
    ],
)
def test_what_is_no_json_object_is_refused(raw: bytes) -> None:
    """At any depth, as an upstream could make something else of it."""
    body = checked(raw)
    assert isinstance(body, str)
    assert body.startswith("the body is not plain JSON: ")
    assert isinstance(checked(raw or b"x", PLAIN), str)


def test_a_call_by_the_call_needs_no_body() -> None:
    """Where no name is asked for, none is an empty body too."""
    assert checked(b"", PLAIN) == Body(b"", 1)
    assert checked(b'{"a":1}', PLAIN) == Body(b'{"a":1}', 1)
    named = replace(PLAIN, operations=CHAT.operations)
    assert isinstance(checked(b"", named), str)
    assert checked(b'{"model":"small"}', named) == Body(b'{"model":"small"}', 1)


@pytest.mark.parametrize(
    "inner", [b"", b'"]]]]"', b'"\\"]]]]"', b'"\\\\", "]]]]\\\\\\""', b"[], []"]
)
def test_a_body_is_nested_so_deep_and_no_deeper(inner: bytes) -> None:
    """Brackets count where they are no text, whatever the text around them is."""
    depth = DEPTH_MAX - inner.endswith(b"[]")
    assert isinstance(checked(nested(depth, inner)), Body)
    assert checked(nested(depth + 1, inner)) == f"the body is nested more than {DEPTH_MAX} deep"
    assert isinstance(checked(nested(100_000, inner)), str)


def test_text_is_not_nested() -> None:
    """A text may have any number of brackets, and so may a flat list."""
    text = '[{"\\' * DEPTH_MAX
    assert json.loads(passed({"a": text, "b": [[]] * 1_000}).raw)["a"] == text
    assert json.loads(passed({"a": [text, '"'] * 3}).raw)["a"] == [text, '"'] * 3


def test_names_are_counted() -> None:
    """As many as there is a bound for."""
    fields = {f"a{place}": place for place in range(NAMES_MAX)}
    assert isinstance(checked(json.dumps(fields).encode(), PLAIN), Body)
    body = checked(json.dumps({**fields, "b": 1}).encode(), PLAIN)
    assert isinstance(body, str)
    assert f"more than {NAMES_MAX} names" in body


@given(
    fields=st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), VALUES),
    ascii_only=st.booleans(),
)
def test_what_is_sent_says_what_was_said(fields: dict[str, Any], *, ascii_only: bool) -> None:
    """Any object comes through with the same names and values."""
    raw = json.dumps(fields, ensure_ascii=ascii_only, indent=1).encode()
    if len({name.lower() for name in fields}) < len(fields):
        assert isinstance(checked(raw, PLAIN), str)
    else:
        assert json.loads(passed(raw, PLAIN).raw) == fields


def test_values_go_on_as_they_came_and_names_are_written_anew() -> None:
    """A name has one spelling, and between names there is nothing."""
    raw = b' {"mod\\u0065l" : "small","a\\/b":[1.50, 1E2,\n"\\u00e9"] ,"max_tokens":7}\n'
    assert passed(raw).raw == b'{"model":"small","a/b":[1.50, 1E2,\n"\\u00e9"],"max_tokens":7}'


@pytest.mark.parametrize(
    ("sent", "options"),
    [
        ({}, None),
        ({"stream": False}, None),
        ({"stream": 1, "stream_options": {"include_usage": False}}, {"include_usage": False}),
        ({"stream": True}, {"include_usage": True}),
        ({"stream": True, "stream_options": None}, {"include_usage": True}),
        ({"stream": True, "stream_options": [1]}, {"include_usage": True}),
        (
            {"stream": True, "stream_options": {"a": [1], "include_usage": False}},
            {"a": [1], "include_usage": True},
        ),
    ],
)
def test_a_stream_is_asked_for_its_usage(sent: dict[str, Any], options: object) -> None:
    """Whatever was asked, and beside what was; other bodies are left alone."""
    assert json.loads(passed(sent).raw).get("stream_options") == options


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens", "n"])
@pytest.mark.parametrize(
    "value", ["0", "-5", "1e3", "1.0", "true", '"5"', "[5]", "99999999", "9" * 30, "-0"]
)
def test_bounds_are_whole_numbers(name: str, value: str) -> None:
    """What an upstream could read as another number is refused, and so is what is too large."""
    body = checked(b'{"model": "small", "%b": %b}' % (name.encode(), value.encode()))
    assert body == "token bounds and n are whole numbers from 1 to 32768"


def test_a_reservation_covers_prompt_and_output() -> None:
    """Every byte may be a token; the greatest bound counts, for each of the choices."""
    for fields, output in (
        ({"max_tokens": 50}, 50),
        ({"max_tokens": 10, "n": 3}, 30),
        ({"max_tokens": 10, "max_completion_tokens": 40}, 40),
        ({"max_tokens": 10, "max_completion_tokens": None, "n": None}, 10),
        ({}, METERING.output_default),
    ):
        assert passed(fields).units_max == len(a_chat(**fields)) + output
    dear = replace(CHAT, metering=replace(METERING, prompt_bytes_per_token=4))
    assert passed({"max_tokens": 50}, dear).units_max == -(-len(a_chat(max_tokens=50)) // 4) + 50


def test_output_without_a_bound_gets_one() -> None:
    """The provider's, or as much as the lease has left for each choice; at least one."""
    size = len(a_chat(n=2))
    for left, bound in ((10**6, METERING.output_default), (size + 19, 9), (1, 1)):
        body = passed({"n": 2}, left=left)
        assert json.loads(body.raw)["max_completion_tokens"] == bound
        assert body.units_max == size + 2 * bound
    named = json.loads(passed({"max_tokens": None, "max_completion_tokens": None}).raw)
    assert named == {
        "model": "small",
        "max_tokens": None,
        "max_completion_tokens": METERING.output_default,
    }
    unbounded = replace(CHAT, metering=replace(METERING, output_fields=()))
    assert json.loads(passed({}, unbounded).raw) == {"model": "small"}


@pytest.mark.parametrize(
    "inner",
    [
        b'"a": [' + b",".join([b"0.123456"] * 116_000) + b"]",
        b'"a": [' + b",".join([b"[]"] * 349_000) + b"]",
        b",".join(b'"%x": 0' % place for place in range(100_000)),
        b",".join([b'"": 0'] * 170_000),
    ],
    ids=["numbers", "arrays", "names", "repeated"],
)
def test_a_large_body_holds_nobody_up(inner: bytes) -> None:
    """A megabyte of small values is checked in a tenth of what it takes to make values of it."""
    raw = b'{"model": "small", %b}' % inner
    shares = [_seconds(lambda: checked(raw)) / _seconds(lambda: json.loads(raw)) for _ in range(9)]
    assert min(shares) < 1 / 10


def _seconds(work: Callable[[], object]) -> float:
    """Of the processor. Two that follow each other are slowed alike by whoever else works."""
    started = time.thread_time()
    work()
    return time.thread_time() - started
