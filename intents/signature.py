"""secp256k1 signatures over digests: sign, recover, and the two accepted forms.

Accepted are 65 bytes (r, s, v with v = 27 or 28) and 64 bytes (r, yParityAndS of
EIP-2098), always with low s (EIP-2), so that a signature has one form only per size.
"""

import threading
from binascii import unhexlify
from functools import lru_cache
from typing import Final

from coincurve import PrivateKey, PublicKey
from coincurve._libsecp256k1 import ffi, lib  # type: ignore[import-not-found]
from coincurve.context import GLOBAL_CONTEXT
from tiny_keccak import keccak256

from intents.reject import Reject, RejectCode, reject

ORDER: Final = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
"""Order of the secp256k1 group."""
HALF_ORDER: Final = ORDER // 2
COMPACT_BYTES: Final = 64
"""Length of an EIP-2098 signature."""
FULL_BYTES: Final = 65
"""Length of r, s and v."""
ADDRESSES_MAX: Final = 4_096
"""Keys whose addresses are remembered: who signs once mostly signs again."""
_PARITY: Final = (b"\x00", b"\x01")
_HALF_ORDER_BYTES: Final = HALF_ORDER.to_bytes(32, "big")
_DIGEST_BYTES: Final = 32

_CONTEXT: Final = GLOBAL_CONTEXT.ctx
_UNCOMPRESSED: Final = lib.SECP256K1_EC_UNCOMPRESSED
_parse: Final = lib.secp256k1_ecdsa_recoverable_signature_parse_compact
_recover: Final = lib.secp256k1_ecdsa_recover
_serialize: Final = lib.secp256k1_ec_pubkey_serialize


class SigningKey:
    """A private key that signs digests. Has no repr of its secret, no equality, no pickle."""

    __slots__ = ("_key", "address")

    def __init__(self, secret: bytes) -> None:
        self._key = PrivateKey(secret)
        self.address: Final = address_of(self._key.public_key)

    @classmethod
    def generate(cls) -> "SigningKey":
        """A new key from the operating system's randomness."""
        return cls(PrivateKey().secret)

    def __repr__(self) -> str:
        return f"SigningKey({self.address})"

    def __reduce__(self) -> str:
        raise TypeError("a signing key is not pickled")

    def secret(self) -> bytes:
        """The 32 secret bytes, for a key file. Never log or send them."""
        return bytes(self._key.secret)

    def sign(self, digest: bytes) -> str:
        """A 65-byte low-s signature as 0x-hex."""
        signature = self._key.sign_recoverable(digest, hasher=None)
        return "0x" + (signature[:64] + bytes([signature[64] + 27])).hex()


def address_of(public_key: PublicKey) -> str:
    """The lower-case address of a public key."""
    return _address(public_key.format(compressed=False)[1:])


def decode_signature(signature: str) -> bytes | Reject:
    """The signature's bytes, of any length within bounds (an EIP-1271 one may be long)."""
    if not signature.startswith("0x"):
        return reject(RejectCode.SIGNATURE_MALFORMED, "a signature is 0x-prefixed hex")
    try:
        return unhexlify(signature[2:])
    except ValueError:
        return reject(RejectCode.SIGNATURE_MALFORMED, "a signature is 0x-prefixed hex")


def normalise(signature: bytes) -> bytes | Reject:
    """The 65-byte recoverable form (r, s, parity) of an accepted signature.

    Rejects: signature_malformed, signature_high_s.
    """
    if len(signature) == FULL_BYTES:
        if signature[64] not in (27, 28):
            return reject(RejectCode.SIGNATURE_MALFORMED, f"v is {signature[64]}, not 27 or 28")
        normal = signature[:64] + _PARITY[signature[64] - 27]
    elif len(signature) == COMPACT_BYTES:
        high = signature[32]
        normal = signature[:32] + bytes((high & 0x7F,)) + signature[33:] + _PARITY[high >> 7]
    else:
        return reject(RejectCode.SIGNATURE_MALFORMED, f"{len(signature)} bytes, not 64 or 65")
    if normal[32:64] > _HALF_ORDER_BYTES:
        return reject(RejectCode.SIGNATURE_HIGH_S)
    return normal


def recover(digest: bytes, signature: bytes) -> str | Reject:
    """The address that signed `digest`.

    Rejects: signature_malformed, signature_high_s, signature_invalid.
    """
    normal = normalise(signature)
    if isinstance(normal, Reject):
        return normal
    public_key = _public_key(digest, normal)
    if public_key is None:
        return reject(RejectCode.SIGNATURE_INVALID, "no key gives this signature")
    return _address(public_key)


class _Memory(threading.local):
    """What the C library reads and writes: each thread has its own, for all its calls."""

    def __init__(self) -> None:
        self.signature = ffi.new("secp256k1_ecdsa_recoverable_signature *")
        self.key = ffi.new("secp256k1_pubkey *")
        self.written = ffi.new("unsigned char[]", FULL_BYTES)
        self.size = ffi.new("size_t *", FULL_BYTES)
        self.read = ffi.buffer(self.written)


_MEMORY: Final = _Memory()


def _public_key(digest: bytes, normal: bytes) -> bytes | None:
    """The 64 bytes of the key that made a signature in `normalise`'s form, or None.

    Calls the C library by itself, in memory that is there already: coincurve's own way through
    three objects costs five per cent of a recovery, and new memory for each call as much again.
    """
    if len(digest) != _DIGEST_BYTES:
        raise ValueError(f"a digest has {_DIGEST_BYTES} bytes, not {len(digest)}")
    memory = _MEMORY
    signature, key = memory.signature, memory.key
    if not _parse(_CONTEXT, signature, normal, normal[64]):
        return None
    if not _recover(_CONTEXT, key, signature, digest):
        return None
    _serialize(_CONTEXT, memory.written, memory.size, key, _UNCOMPRESSED)
    public_key: bytes = memory.read[1:FULL_BYTES]
    return public_key


@lru_cache(ADDRESSES_MAX)
def _address(public_key: bytes) -> str:
    return "0x" + keccak256(public_key)[12:].hex()
