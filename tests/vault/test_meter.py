"""What was relayed is counted, wherever a stream was cut or given up."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from solver.vault.decode import BoundedDecoder
from solver.vault.fault import ResponseRefused
from solver.vault.meter import LINE_BYTES_MAX, CallMeter, Meter, StreamMeter, meter_for, usage_of
from solver.vault.template import PerCall, UsageTokens


def an_event(word: str) -> bytes:
    """One chunk of a chat completion stream."""
    return b"data: " + json.dumps({"choices": [{"delta": {"content": word}}]}).encode() + b"\n\n"


def a_usage(total: object) -> bytes:
    """The last chunk of a stream."""
    body = json.dumps({"choices": [], "usage": {"total_tokens": total}}).encode()
    return b"data: " + body + b"\r\n\r\ndata: [DONE]\n\n"


def metered(text: bytes, sizes: list[int], meter: Meter | None = None) -> int:
    """The units after feeding `text` in chunks of these sizes."""
    meter = meter or StreamMeter(0)
    at = turn = 0
    while at < len(text):
        size = sizes[turn % len(sizes)]
        meter.feed(text[at : at + size])
        at, turn = at + size, turn + 1
    return meter.units


@given(
    words=st.lists(st.text(min_size=1), max_size=8), sizes=st.lists(st.integers(1, 60), min_size=1)
)
def test_the_reported_usage_counts_however_the_stream_is_cut(
    words: list[str], sizes: list[int]
) -> None:
    """The final usage chunk decides."""
    stream = b"".join(map(an_event, words)) + a_usage(1_234)
    assert metered(stream, sizes) == 1_234


@given(words=st.lists(st.text("ab", min_size=1), min_size=1, max_size=8), size=st.integers(1, 60))
def test_at_every_offset_at_least_what_was_relayed_is_counted(words: list[str], size: int) -> None:
    """Given up anywhere, each event that passed counts as a token at least."""
    stream = b"".join(map(an_event, words)) + a_usage(1_234)
    meter = StreamMeter(0)
    for at in range(0, len(stream), size):
        meter.feed(stream[at : at + size])
        relayed = stream[: at + size].count(b"\n\n")
        assert meter.units >= min(relayed, len(words))


def test_text_after_a_running_usage_is_counted_on_top() -> None:
    """Servers that report usage on the way do not make the rest free."""
    meter = StreamMeter(0)
    meter.feed(an_event("a") + a_usage(10) + an_event("b") + an_event("c"))
    assert meter.units >= 12


@pytest.mark.parametrize("total", [-1, 10**13, "9", None, True, 1.5, [], {}])
def test_an_odd_usage_is_no_usage(total: object) -> None:
    """Then the estimate counts."""
    assert usage_of(json.dumps({"usage": {"total_tokens": total}}).encode()) is None
    assert 1 <= metered(an_event("word") + a_usage(total), [1_000]) < 100


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"\xff", b"[" * 100_000, b'{"usage": 1}'])
def test_an_odd_body_is_estimated(body: bytes) -> None:
    """A body that says nothing is counted by size, with its prompt."""
    meter = meter_for(UsageTokens(), "application/json", 40)
    meter.feed(body)
    assert meter.units == 10 + -(-len(body) // 4)


def test_an_endless_line_takes_bounded_memory_and_is_counted() -> None:
    """A stream without line ends neither fills memory nor is free."""
    meter = StreamMeter(0)
    for _ in range(100):
        meter.feed(b"x" * 10_000)
        assert len(meter._line) <= LINE_BYTES_MAX
    assert meter.units >= 1_000_000 // 4


def test_a_body_over_the_bound_is_counted_by_size() -> None:
    """Large answers are not collected."""
    meter = meter_for(UsageTokens(), "application/json", 0)
    for _ in range(50):
        meter.feed(b"x" * 100_000)
    assert meter.units == 5_000_000 // 4


def test_a_call_is_one_unit() -> None:
    """Whatever it returns."""
    meter = meter_for(PerCall(), "text/event-stream", 5)
    meter.feed(b"x" * 1_000)
    assert isinstance(meter, CallMeter)
    assert meter.units == 1


def test_a_meter_that_waits_for_usage_gives_streams_away() -> None:
    """The offset test can fail: counting only the final usage bills nothing on abort."""
    aborted = an_event("one") + an_event("two")
    assert usage_of(aborted) is None
    assert metered(aborted, [10]) >= 2


@pytest.mark.parametrize("encoding", ["br", "zstd", "compress", "gzip, gzip", "x"])
def test_an_encoding_that_cannot_be_undone_is_refused(encoding: str) -> None:
    """What cannot be read cannot be scrubbed."""
    with pytest.raises(ResponseRefused):
        BoundedDecoder(encoding, 100)
