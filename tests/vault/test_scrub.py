"""Zero key bytes come out of the scrubber, whatever goes in and however it is cut."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from solver.vault.scrub import Scrubber
from solver.vault.secret import Secret, refuse_secret
from tests.vault.fixture import KEY
from tests.vault.leak import ENCODERS, leaks

ALPHABET = [bytes([byte]) for byte in range(0x21, 0x7F) if byte not in b"[]"]
KEYS = (
    st.lists(st.sampled_from(ALPHABET), min_size=8, max_size=80)
    .map(b"".join)
    .filter(lambda key: refuse_secret(Secret(key)) is None)
)


def scrubbed(key: bytes, *chunks: bytes) -> bytes:
    """What comes out for these chunks."""
    scrubber = Scrubber(Secret(key))
    return b"".join([*map(scrubber.feed, chunks), scrubber.flush()])


def scrubbed_without_carry(key: bytes, *chunks: bytes) -> bytes:
    """A planted bug: each chunk is scrubbed by itself."""
    return b"".join(scrubbed(key, chunk) for chunk in chunks)


def cut(text: bytes, sizes: list[int]) -> list[bytes]:
    """`text` in chunks of these sizes, over and over."""
    chunks: list[bytes] = []
    at = 0
    while at < len(text):
        size = sizes[len(chunks) % len(sizes)]
        chunks.append(text[at : at + size])
        at += size
    return chunks


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("size", [1, 2, 3, 7, 16, 1_000])
def test_each_encoding_is_masked_however_it_is_cut(name: str, size: int) -> None:
    """The key in any known encoding never comes out, at any chunk size."""
    text = b'{"error": "bad key ' + ENCODERS[name](KEY) + b'"}, then more \\n text %20'
    output = scrubbed(KEY, *cut(text, [size]))
    assert leaks(output, KEY) == []
    assert b"[key]" in output
    assert output.startswith(b'{"error"')
    assert output.endswith(b"then more \\n text %20")


@given(
    key=KEYS,
    names=st.lists(st.sampled_from(sorted(ENCODERS)), min_size=1, max_size=4),
    noise=st.lists(st.binary(max_size=20), min_size=4, max_size=4),
    sizes=st.lists(st.integers(1, 50), min_size=1, max_size=5),
)
@example(key=b'!\\!!!!"#', names=["every other byte escaped"], noise=[b""], sizes=[1])
def test_no_key_in_any_encoding_and_chunking_comes_out(
    key: bytes, names: list[str], noise: list[bytes], sizes: list[int]
) -> None:
    """For every key, encoding, surrounding and cut: nothing leaks."""
    text = b"".join(extra + ENCODERS[name](key) for extra, name in zip(noise, names, strict=False))
    assert leaks(scrubbed(key, *cut(text, sizes)), key) == []


@given(key=KEYS, text=st.binary(max_size=300), sizes=st.lists(st.integers(1, 40), min_size=1))
def test_the_cut_changes_nothing(key: bytes, text: bytes, sizes: list[int]) -> None:
    """What comes out does not depend on how the stream was cut."""
    whole = key.join([text[:50], text[50:]]) + key[2:20]
    output = scrubbed(key, *cut(whole, sizes))
    assert leaks(output, key) == []
    assert output == scrubbed(key, whole)


@given(text=st.binary(max_size=500), sizes=st.lists(st.integers(1, 40), min_size=1))
def test_text_without_the_key_passes_unchanged(text: bytes, sizes: list[int]) -> None:
    """Nothing else is touched or lost."""
    assert scrubbed(KEY, *cut(text, sizes)) == text


@given(start=st.integers(0, len(KEY) - 16), size=st.integers(16, len(KEY)), at=st.integers(1, 40))
def test_long_fragments_are_masked_whole(start: int, size: int, at: int) -> None:
    """A run of 16 bytes or more of the key disappears, not just 16 of it."""
    fragment = KEY[start : start + size]
    output = scrubbed(KEY, b"<" + fragment[:at], fragment[at:] + b">")
    assert output == (b"<[key]>" if len(fragment) >= 16 else b"<" + fragment + b">")


def test_a_line_that_ends_is_not_held_back() -> None:
    """An event passes at once: scrubbing adds no delay to a stream."""
    scrubber = Scrubber(Secret(KEY))
    event = b'data: {"choices": [{"delta": {"content": "sk-li"}}]}\n\n'
    assert scrubber.feed(event) == event


def test_what_is_held_is_bounded_for_a_key_that_repeats_itself() -> None:
    """Even a key that contribution refuses cannot make the scrubber hold without end."""
    scrubber = Scrubber(Secret(b"abcdabcd" * 8))
    for _ in range(60):
        scrubber.feed(b"abcd" * 100)
    assert len(scrubber._held) <= scrubber._held_bytes_max


def test_the_oracle_finds_a_planted_leak() -> None:
    """A scrubber without carry-over fails these tests: they can fail."""
    leaking = [
        name
        for name in ENCODERS
        if leaks(scrubbed_without_carry(KEY, *cut(ENCODERS[name](KEY), [20])), KEY)
    ]
    assert len(leaking) >= len(ENCODERS) - 5
    assert leaks(KEY[3:19], KEY) == ["fragment"]


def test_a_closed_scrubber_lets_nothing_through() -> None:
    """Forgetting the key must not mean passing it on."""
    scrubber = Scrubber(Secret(KEY))
    scrubber.feed(KEY[:9])
    scrubber.close()
    assert scrubber.feed(KEY) + scrubber.whole(KEY) + scrubber.flush() == b""
