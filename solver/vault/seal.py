"""Envelope encryption of keys: AES-256-GCM under a data key, the data key under a KEK.

A sealed key names its format, algorithm and key-encryption key, so it can be opened
years later. What it is *for* (account, key, version, provider, upstream host) is not in
it: that comes from where it was found and is authenticated, so a sealed key that was
moved to another row, tenant or host does not open.

    "KFS" | format 1 | algorithm 1 | kek id length 1 | kek id | wrapped length 2 | wrapped
    | nonce 12 | ciphertext and tag
"""

import hmac
import os
import stat
from hashlib import sha256
from pathlib import Path
from typing import Final, NamedTuple, Protocol

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from solver.vault.fault import KeyFileFault, SealFault
from solver.vault.secret import Secret

MAGIC: Final = b"KFS"
FORMAT: Final = 1
ALGORITHM_AES_256_GCM: Final = 1
DATA_KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
TAG_BYTES: Final = 16
KEK_ID_BYTES_MAX: Final = 255
WRAPPED_BYTES_MAX: Final = 2**16 - 1
OTHERS_MODE: Final = 0o077


class Binding(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a sealed key is for. All of it is authenticated."""

    account: str
    key_id: str
    version: int
    provider: str
    host: str


class KeyWrapper(Protocol):
    """Wraps data keys under a key-encryption key: a file, a KMS, t of n people.

    `unwrap` opens what any KEK that it still knows has wrapped, and raises SealFault
    otherwise. Both must authenticate `context`.
    """

    @property
    def kek_id(self) -> str:
        """Names the KEK that `wrap` uses."""
        ...

    def wrap(self, data_key: bytearray, context: bytes) -> bytes:
        """`data_key` so that only `unwrap` can read it."""
        ...

    def unwrap(self, kek_id: str, wrapped: bytes, context: bytes) -> bytearray:
        """The data key; the caller wipes it."""
        ...


class _Envelope(NamedTuple):
    kek_id: str
    wrapped: bytes
    nonce: bytes
    ciphertext: bytes


class LocalKeyWrapper:
    """A KEK in a 32-byte file that only its owner can read; created on first start.

    After a rotation `previous` names files whose KEKs still open, but never wrap.
    """

    def __init__(self, path: Path, *, previous: tuple[Path, ...] = ()) -> None:
        current = _load_or_create(path)
        self._kek_id = _kek_id(current)
        self._keks = {_kek_id(kek): kek for kek in [current, *map(_load, previous)]}

    @property
    def kek_id(self) -> str:
        """Names the KEK without telling anything about it."""
        return self._kek_id

    def wrap(self, data_key: bytearray, context: bytes) -> bytes:
        """`data_key` under the current KEK."""
        return _encrypt(self._keks[self._kek_id], data_key, context)

    def unwrap(self, kek_id: str, wrapped: bytes, context: bytes) -> bytearray:
        """The data key, or a SealFault."""
        kek = self._keks.get(kek_id)
        if kek is None:
            raise SealFault("sealed under an unknown key-encryption key", hint=f"kek {kek_id}")
        return _decrypt(kek, wrapped, context)

    def __repr__(self) -> str:
        return f"<LocalKeyWrapper {self._kek_id}>"


class MovingWrapper:
    """Wraps under `new`, and opens what either has wrapped: for the time of a rotation."""

    def __init__(self, old: KeyWrapper, new: KeyWrapper) -> None:
        self._old = old
        self._new = new

    @property
    def kek_id(self) -> str:
        """The new KEK's."""
        return self._new.kek_id

    def wrap(self, data_key: bytearray, context: bytes) -> bytes:
        """`data_key` under the new KEK."""
        return self._new.wrap(data_key, context)

    def unwrap(self, kek_id: str, wrapped: bytes, context: bytes) -> bytearray:
        """The data key, by whichever wrapper names this KEK."""
        wrapper = self._new if kek_id == self._new.kek_id else self._old
        return wrapper.unwrap(kek_id, wrapped, context)


def seal(secret: Secret, binding: Binding, wrapper: KeyWrapper) -> bytes:
    """`secret` under a fresh data key, good only for `binding`."""
    data_key = bytearray(os.urandom(DATA_KEY_BYTES))
    try:
        with secret.exposed() as view:
            sealed = _encrypt(data_key, view, _context(b"secret", binding))
        wrapped = wrapper.wrap(data_key, _context(b"data key", binding))
    finally:
        _wipe(data_key)
    return _pack(wrapper.kek_id, wrapped, sealed)


def unseal(sealed: bytes, binding: Binding, wrapper: KeyWrapper) -> Secret:
    """What was sealed for exactly this `binding`; anything else raises a SealFault."""
    envelope = _unpack(sealed)
    data_key = wrapper.unwrap(envelope.kek_id, envelope.wrapped, _context(b"data key", binding))
    plain = bytearray()
    try:
        body = envelope.nonce + envelope.ciphertext
        plain = _decrypt(data_key, body, _context(b"secret", binding))
        return Secret(plain)
    finally:
        _wipe(data_key)
        _wipe(plain)


def rewrap(sealed: bytes, binding: Binding, old: KeyWrapper, new: KeyWrapper) -> bytes:
    """The same secret with its data key under `new`'s KEK; the secret is not decrypted."""
    envelope = _unpack(sealed)
    context = _context(b"data key", binding)
    data_key = old.unwrap(envelope.kek_id, envelope.wrapped, context)
    try:
        wrapped = new.wrap(data_key, context)
    finally:
        _wipe(data_key)
    return _pack(new.kek_id, wrapped, envelope.nonce + envelope.ciphertext)


def kek_id_of(sealed: bytes) -> str:
    """Which key-encryption key a sealed key needs."""
    return _unpack(sealed).kek_id


def fingerprint_of(pepper: Secret, provider: str, host: str, secret: Secret) -> bytes:
    """Equal for equal keys of a provider's host, and useless without `pepper`."""
    with pepper.exposed() as key, secret.exposed() as view:
        mac = hmac.new(bytes(key), digestmod=sha256)
        for part in (provider.encode(), host.encode(), view):
            mac.update(len(part).to_bytes(4) + bytes(part))
    return mac.digest()


def _context(purpose: bytes, binding: Binding) -> bytes:
    # Length prefixes make the form canonical: no two bindings encode alike.
    parts = (
        b"keyfill",
        purpose,
        bytes([FORMAT, ALGORITHM_AES_256_GCM]),
        binding.account.encode(),
        binding.key_id.encode(),
        str(binding.version).encode(),
        binding.provider.encode(),
        binding.host.encode(),
    )
    return b"".join(len(part).to_bytes(4) + part for part in parts)


def _pack(kek_id: str, wrapped: bytes, sealed: bytes) -> bytes:
    name = kek_id.encode()
    if len(name) > KEK_ID_BYTES_MAX or len(wrapped) > WRAPPED_BYTES_MAX:
        raise SealFault("the key wrapper's output is too long")
    head = MAGIC + bytes([FORMAT, ALGORITHM_AES_256_GCM, len(name)]) + name
    return head + len(wrapped).to_bytes(2) + wrapped + sealed


def _unpack(sealed: bytes) -> _Envelope:
    head, rest = sealed[:5], sealed[5:]
    if head != MAGIC + bytes([FORMAT, ALGORITHM_AES_256_GCM]):
        raise SealFault("not a sealed key of a format that we know")
    name, rest = rest[1 : 1 + rest[0]] if rest else b"", rest[1 + rest[0] :] if rest else b""
    size = int.from_bytes(rest[:2])
    wrapped, body = rest[2 : 2 + size], rest[2 + size :]
    if not name.isascii() or len(wrapped) != size or len(body) < NONCE_BYTES + TAG_BYTES:
        raise SealFault("the sealed key is cut short")
    return _Envelope(name.decode("ascii"), wrapped, body[:NONCE_BYTES], body[NONCE_BYTES:])


def _encrypt(key: bytearray, plain: bytearray | memoryview, context: bytes) -> bytes:
    nonce = os.urandom(NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, plain, context)


def _decrypt(key: bytearray, sealed: bytes, context: bytes) -> bytearray:
    nonce, ciphertext = sealed[:NONCE_BYTES], sealed[NONCE_BYTES:]
    # Straight into memory that can be wiped: `decrypt` would return immutable bytes.
    plain = bytearray(max(0, len(ciphertext) - TAG_BYTES))
    try:
        AESGCM(key).decrypt_into(nonce, ciphertext, context, plain)
    except (InvalidTag, ValueError):
        _wipe(plain)
    else:
        return plain
    raise SealFault("the sealed key does not open here")


def _load_or_create(path: Path) -> bytearray:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return _load(path)
    except OSError as error:
        reason = error.strerror
    else:
        with os.fdopen(descriptor, "wb") as file:
            file.write(os.urandom(DATA_KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
        return _load(path)
    raise KeyFileFault(f"cannot create the key file {path}: {reason}")


def _load(path: Path) -> bytearray:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError as error:
        raise KeyFileFault(f"cannot open the key file {path}: {error.strerror}") from None
    try:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode) or mode & OTHERS_MODE:
            raise KeyFileFault(f"others can read {path}", hint=f"run: chmod 600 {path}")
        kek = bytearray(os.read(descriptor, DATA_KEY_BYTES + 1))
    finally:
        os.close(descriptor)
    if len(kek) != DATA_KEY_BYTES:
        raise KeyFileFault(f"{path} does not hold {DATA_KEY_BYTES} bytes", hint="restore a backup")
    return kek


def _kek_id(kek: bytearray) -> str:
    return "local-" + sha256(b"keyfill kek id" + kek).hexdigest()[:16]


def _wipe(buffer: bytearray) -> None:
    buffer[:] = bytes(len(buffer))
