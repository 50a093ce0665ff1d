"""Signatures: the accepted forms, and every other one refused by its exact code."""

import copy
import pickle
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from eth_account import Account
from hypothesis import example, given
from hypothesis import strategies as st

from intents.reject import Reject, RejectCode
from intents.signature import HALF_ORDER, ORDER, SigningKey, decode_signature, normalise, recover
from tests.builder import alice

digests = st.binary(min_size=32, max_size=32)
keys = st.integers(1, ORDER - 1).map(lambda n: SigningKey(n.to_bytes(32, "big")))


def _raw(signature: str) -> bytes:
    raw = decode_signature(signature)
    assert isinstance(raw, bytes)
    return raw


def _compact(raw: bytes) -> bytes:
    """The EIP-2098 form of a 65-byte signature."""
    parity = raw[64] - 27
    return raw[:32] + bytes([raw[32] | parity << 7]) + raw[33:64]


def _code(result: object) -> RejectCode:
    assert isinstance(result, Reject)
    return result.code


@given(key=keys, digest=digests)
def test_both_forms_name_the_signer(key: SigningKey, digest: bytes) -> None:
    """65 bytes and the 64-byte form of the same signature recover to who signed."""
    raw = _raw(key.sign(digest))
    assert recover(digest, raw) == key.address
    assert recover(digest, _compact(raw)) == key.address


@given(key=keys, digest=digests)
def test_signing_equals_that_of_eth_account(key: SigningKey, digest: bytes) -> None:
    """Deterministic nonces (RFC 6979): two implementations give the same bytes."""
    theirs = Account.unsafe_sign_hash(digest, key.secret())
    assert _raw(key.sign(digest)) == bytes(theirs.signature)


@given(key=keys, digest=digests)
def test_the_high_s_twin_is_refused(key: SigningKey, digest: bytes) -> None:
    """For each signature the other valid (r, n - s) is refused: one form only."""
    raw = _raw(key.sign(digest))
    s = int.from_bytes(raw[32:64], "big")
    twin = raw[:32] + (ORDER - s).to_bytes(32, "big") + bytes([55 - raw[64]])
    assert s <= HALF_ORDER
    assert _code(recover(digest, twin)) is RejectCode.SIGNATURE_HIGH_S


@given(key=keys, digest=digests, v=st.integers(0, 255).filter(lambda v: v not in (27, 28)))
@example(key=alice.key, digest=bytes(32), v=0)
@example(key=alice.key, digest=bytes(32), v=1)
def test_any_other_v_is_malformed(key: SigningKey, digest: bytes, v: int) -> None:
    """Only 27 and 28 count, not 0 and 1, not EIP-155's."""
    raw = _raw(key.sign(digest))[:64] + bytes([v])
    assert _code(recover(digest, raw)) is RejectCode.SIGNATURE_MALFORMED


@given(digest=digests, raw=st.binary(max_size=130))
@example(digest=bytes(32), raw=bytes(65))
@example(digest=bytes(32), raw=bytes(64) + b"\x1b")
@example(digest=bytes(32), raw=b"\xff" * 64)
@example(digest=bytes(32), raw=b"\xff" * 32 + bytes(31) + b"\x01\x1b")
@example(digest=bytes(32), raw=ORDER.to_bytes(32, "big") + bytes(31) + b"\x01\x1b")
@example(digest=bytes(32), raw=bytes(31) + b"\x05" + bytes(31) + b"\x01\x1c")
def test_garbage_never_raises(digest: bytes, raw: bytes) -> None:
    """Any bytes give an address or one of three codes, never an exception."""
    result = recover(digest, raw)
    if isinstance(result, Reject):
        assert result.code in (
            RejectCode.SIGNATURE_MALFORMED,
            RejectCode.SIGNATURE_HIGH_S,
            RejectCode.SIGNATURE_INVALID,
        )
    else:
        assert len(result) == 42


@pytest.mark.parametrize(
    ("r", "s", "code"),
    [
        (0, 1, RejectCode.SIGNATURE_INVALID),
        (1, 0, RejectCode.SIGNATURE_INVALID),
        (0, 0, RejectCode.SIGNATURE_INVALID),
        (ORDER, 1, RejectCode.SIGNATURE_INVALID),
        (2**256 - 1, 1, RejectCode.SIGNATURE_INVALID),
        (1, HALF_ORDER + 1, RejectCode.SIGNATURE_HIGH_S),
        (1, ORDER, RejectCode.SIGNATURE_HIGH_S),
        (1, 2**256 - 1, RejectCode.SIGNATURE_HIGH_S),
    ],
)
def test_impossible_numbers_have_exact_codes(r: int, s: int, code: RejectCode) -> None:
    """R and s out of range are refused by name."""
    raw = r.to_bytes(32, "big") + s.to_bytes(32, "big") + b"\x1b"
    assert _code(recover(bytes(range(32)), raw)) is code


def test_half_the_order_is_still_low() -> None:
    """The bound is inclusive, as the contract's is."""
    raw = bytes(32) + HALF_ORDER.to_bytes(32, "big") + b"\x1b"
    assert isinstance(normalise(raw), bytes)


@pytest.mark.parametrize(
    "text", ["", "0x0", "0xzz", "ab", "0X00", "0x ab", "0xab cd", "0x\nab", "0xé", "x0ab", "0x٣٣"]
)
def test_text_that_is_no_hex_is_malformed(text: str) -> None:
    """Only 0x and pairs of hex digits are read: no spaces, no other alphabets."""
    assert _code(decode_signature(text)) is RejectCode.SIGNATURE_MALFORMED


@given(text=st.text())
def test_any_text_decodes_or_is_malformed(text: str) -> None:
    """Decoding never raises."""
    for candidate in (text, "0x" + text):
        result = decode_signature(candidate)
        if isinstance(result, Reject):
            assert result.code is RejectCode.SIGNATURE_MALFORMED
        else:
            assert "0x" + result.hex() == candidate.lower()


def test_signing_keys_keep_their_secret() -> None:
    """No repr, pickle or copy shows it; two keys are never compared by it."""
    key = SigningKey(b"\x11" * 32)
    assert "11" * 32 not in repr(key)
    assert key != SigningKey(b"\x11" * 32)
    for leak in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            leak(key)


def test_generated_keys_differ() -> None:
    """A new key is new, and can be made again from its secret."""
    first, second = SigningKey.generate(), SigningKey.generate()
    assert first.address != second.address
    assert SigningKey(first.secret()).address == first.address


def _signers(keys: list[SigningKey], times: int) -> list[str | Reject]:
    digest = b"\x07" * 32
    return [recover(digest, _raw(key.sign(digest))) for _ in range(times) for key in keys]


def test_threads_do_not_share_memory() -> None:
    """Each of many threads recovers its own signers, however they take turns."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as threads:
            lots = [[SigningKey.generate() for _ in range(4)] for _ in range(4)]
            found = list(threads.map(_signers, lots, [100] * 4))
    finally:
        sys.setswitchinterval(interval)
    assert found == [[key.address for key in keys] * 100 for keys in lots]
