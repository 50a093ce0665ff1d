"""secp256k1 signatures over digests: sign, recover, and the two accepted forms.

Accepted are 65 bytes (r, s, v with v = 27 or 28) and 64 bytes (r, yParityAndS of
EIP-2098), always with low s (EIP-2), so that a signature has one form only per size.
"""

import re
from binascii import unhexlify
from typing import Final

from coincurve import PrivateKey, PublicKey
from tiny_keccak import keccak256

from intents.reject import Reject, RejectCode, reject

ORDER: Final = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
"""Order of the secp256k1 group."""
HALF_ORDER: Final = ORDER // 2
COMPACT_BYTES: Final = 64
"""Length of an EIP-2098 signature."""
FULL_BYTES: Final = 65
"""Length of r, s and v."""
_PARITY_BIT: Final = 1 << 255
_HEX: Final = re.compile(r"0x(?:[0-9a-fA-F]{2})*")


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
    return "0x" + keccak256(public_key.format(compressed=False)[1:])[12:].hex()


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
    if len(signature) == COMPACT_BYTES:
        packed = int.from_bytes(signature[32:], "big")
        parity = packed >> 255
        s = packed & (_PARITY_BIT - 1)
    elif len(signature) == FULL_BYTES:
        if signature[64] not in (27, 28):
            return reject(RejectCode.SIGNATURE_MALFORMED, f"v is {signature[64]}, not 27 or 28")
        parity = signature[64] - 27
        s = int.from_bytes(signature[32:64], "big")
    else:
        return reject(RejectCode.SIGNATURE_MALFORMED, f"{len(signature)} bytes, not 64 or 65")
    if s > HALF_ORDER:
        return reject(RejectCode.SIGNATURE_HIGH_S)
    return signature[:32] + s.to_bytes(32, "big") + bytes([parity])


def recover(digest: bytes, signature: bytes) -> str | Reject:
    """The address that signed `digest`.

    Rejects: signature_malformed, signature_high_s, signature_invalid.
    """
    normal = normalise(signature)
    if isinstance(normal, Reject):
        return normal
    try:
        return address_of(PublicKey.from_signature_and_message(normal, digest, hasher=None))
    except Exception as error:  # noqa: BLE001  coincurve raises bare Exception and ValueError
        return reject(RejectCode.SIGNATURE_INVALID, f"no key gives this signature: {error}")
