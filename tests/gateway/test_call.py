"""Calls described in JSON: strict in what describes them, quick whatever they send on."""

from time import process_time
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from intents.reject import Reject, RejectCode
from solver.gateway.call import DESCRIPTION_BYTES_MAX, read_call
from solver.gateway.wire import CallBody

LARGE = 1024 * 1024 - 100
HOLD_SECONDS_MAX = 0.05
"""Five times what it takes on a slow machine; reading each value took a third of a second."""
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
spaces = st.text(" \t\r\n", max_size=3)


def call(body: bytes, rest: bytes = b'"method":"POST","path":"/a"') -> CallBody | Reject:
    """What is read of a call with this body."""
    return read_call(b'{%b,"body":%b}' % (rest, body))


@given(values, spaces, spaces)
def test_a_body_goes_on_as_it_came(value: Any, before: str, after: str) -> None:
    """Text as the text that it is, null as nothing, all else byte for byte."""
    sent = msgspec.json.encode(value)
    read = call(before.encode() + sent + after.encode())
    assert isinstance(read, CallBody), read
    if value is None or isinstance(value, str):
        assert read.body == value
    else:
        assert bytes(read.body) == sent
    assert (read.method, read.path) == ("POST", "/a")


MEMBERS = {
    "method": (b'"GET"', b'"PUT"'),
    "path": (b'"/a"', b'"/b"'),
    "query": (b"null", b'"x=1"', b'{"x":1}'),
    "headers": (b"null", b'{"a":"1"}'),
    "body": (b"1", b"12", b"[1]", b'"1"', b"null"),
}
pairs = st.sampled_from([(name, value) for name, many in MEMBERS.items() for value in many])


@given(st.lists(pairs, max_size=7), spaces)
def test_a_name_comes_once(members: list[tuple[str, bytes]], space: str) -> None:
    """Whatever the values and whatever is between them; what is read is what was sent."""
    gap = space.encode()
    inner = (b",%b" % gap).join(
        b'"%b"%b:%b%b%b' % (name.encode(), gap, gap, value, gap) for name, value in members
    )
    read = read_call(b"%b{%b%b}%b" % (gap, gap, inner, gap))
    names = [name for name, _ in members]
    if len(set(names)) < len(names) or not {"method", "path"} <= set(names):
        assert isinstance(read, Reject)
        assert read.code is RejectCode.MALFORMED
        return
    assert isinstance(read, CallBody), read
    expected = {name: msgspec.json.decode(value) for name, value in members}
    found = msgspec.structs.asdict(read)
    if isinstance(read.body, msgspec.Raw):
        found["body"] = msgspec.json.decode(read.body)
    assert found == {"query": None, "headers": None, "body": None} | expected


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{}",
        b"[]",
        b'{"method":"GET","path":"/a","headers":{"a":"1","a":"2"}}',
        b'{"method":"GET","path":"/a","else":1}',
        b'{"method":"GET","path":"/a","b\\u006fdy":1}',
        b'{"method":"GET","path":"/a","body":NaN}',
        b'{"method":"GET","path":"/a","body":01}',
        b'{"method":"GET","path":"/a","body":"\xff"}',
        b'{"method":"GET","path":"/a","body":["\xff"]}',
        b'{"method":"GET","path":"/a","body":"\\ud800"}',
        b'{"method":"GET","path":"/a","body":[1,]}',
        b'{"method":"GET","path":"/a","body":%b' % (b"[" * 100_000),
        b'{"method":"GET","path":"/a","body":1}2',
        b'{"method":"GET","path":"/a","query":[%b1]}' % (b"[]," * 100),
        b'{"method":"get","path":"/a"}',
        b'{"method":"GET","path":"a"}',
    ],
)
def test_what_is_no_call_is_malformed(raw: bytes) -> None:
    """Bad JSON, repeated or unknown names, wrong types: refused, and nothing else happens."""
    read = read_call(raw)
    assert isinstance(read, Reject)
    assert read.code is RejectCode.MALFORMED


def test_a_description_is_bounded() -> None:
    """All but the body has a bound of its own, with a hint; at the bound it is read."""
    rest = b'"method":"POST","path":"/a"%b'
    room = DESCRIPTION_BYTES_MAX - len(rest % b"")
    assert isinstance(call(b"1", rest % (b" " * room)), CallBody)
    query = b',"query":"%b"'
    read = call(b"1", rest % query % (b"x" * room))
    assert isinstance(read, Reject)
    assert (read.code, bool(read.hint)) == (RejectCode.TOO_LARGE, True)


@pytest.mark.parametrize("item", [b"0.1,", b"1,", b"[],", b'{"a":1},', b'"",', b'{"a":{"a":{}}},'])
def test_no_body_holds_everyone_up(item: bytes) -> None:
    """A megabyte of the smallest values is read in no time, whatever they are."""
    raw = b'{"method":"POST","path":"/a","body":[%b1]}' % (item * (LARGE // len(item)))
    assert isinstance(read_call(raw), CallBody)
    # What others do at the same time on this processor does not slow every one of so many.
    assert any(_seconds(raw) < HOLD_SECONDS_MAX for _ in range(20))


def _seconds(raw: bytes) -> float:
    started = process_time()
    read_call(raw)
    return process_time() - started
