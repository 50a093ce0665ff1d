"""EIP-712 hashing of documents, without interpreting a schema at run time.

At import each document class becomes one encoder: a precomputed type hash and one packer
of all its words. `digest` then costs two keccaks. Source: EIP-712.
"""

from binascii import unhexlify
from collections.abc import Callable
from functools import lru_cache
from struct import Struct
from typing import Any, Final

import msgspec
from msgspec.structs import astuple
from tiny_keccak import keccak256

from intents.document import SIGNED, Document

DOMAIN_NAME: Final = "Keyfill"
DOMAIN_VERSION: Final = "1"
DOMAIN_FIELDS: Final = (
    ("name", "string"),
    ("version", "string"),
    ("chainId", "uint256"),
    ("verifyingContract", "address"),
)


DOMAINS_MAX: Final = 64
"""Domains whose prefix is remembered; a market has one."""
CACHED_MAX: Final = 4_096
"""Addresses and texts whose bytes are remembered: a market's resources, assets, busy accounts."""
_ADDRESS_BYTES: Final = 20
_HASH_BYTES: Final = 32


def _bytes_of(value: str, size: int) -> bytes:
    raw = unhexlify(value[2:])
    if len(raw) != size:
        raise ValueError(f"{len(raw)} bytes where {size} belong")
    return raw


@lru_cache(CACHED_MAX)
def _address_bytes(value: str) -> bytes:
    return _bytes_of(value, _ADDRESS_BYTES)


def _hash_bytes(value: str) -> bytes:
    return _bytes_of(value, _HASH_BYTES)


@lru_cache(CACHED_MAX)
def _text_hash(value: str) -> bytes:
    return keccak256(value.encode())


_WORDS: Final[dict[str, tuple[str, Callable[[str], bytes] | None]]] = {
    "address": ("12x20s", _address_bytes),
    "bytes32": ("32s", _hash_bytes),
    "string": ("32s", _text_hash),
    "bool": ("31x?", None),
    "uint8": ("24xQ", None),
    "uint16": ("24xQ", None),
    "uint24": ("24xQ", None),
    "uint32": ("24xQ", None),
    "uint40": ("24xQ", None),
    "uint64": ("24xQ", None),
    "uint96": ("24xQ", None),
}
"""How each Solidity type becomes a word: its place in `struct`, and what is done before.

An integer is at most 2**53 - 1 (`intents.bound`), so eight of its 32 bytes are enough;
one that does not fit them is an error, never cut.
"""


def _fields_of(document: type[Document]) -> tuple[tuple[str, str, str], ...]:
    """(attribute, wire name, Solidity type) of each field, from the annotations."""
    info = msgspec.inspect.type_info(document)
    assert isinstance(info, msgspec.inspect.StructType)
    fields = []
    for field in info.fields:
        assert isinstance(field.type, msgspec.inspect.Metadata)
        assert field.type.extra is not None
        fields.append((field.name, field.encode_name, field.type.extra["eip712"]))
    return tuple(fields)


FIELDS: Final = {document: _fields_of(document) for document in SIGNED}
TYPE_STRINGS: Final = {
    document: f"{document.__name__}({','.join(f'{kind} {wire}' for _, wire, kind in fields)})"
    for document, fields in FIELDS.items()
}
TYPE_HASHES: Final = {document: keccak256(text.encode()) for document, text in TYPE_STRINGS.items()}
DOMAIN_TYPE_STRING: Final = (
    f"EIP712Domain({','.join(f'{kind} {name}' for name, kind in DOMAIN_FIELDS)})"
)
_DOMAIN_TYPE_HASH: Final = keccak256(DOMAIN_TYPE_STRING.encode())


def _hasher(document: type[Document]) -> Callable[[Document], bytes]:
    """The hashStruct of EIP-712 for one document class: its type hash, then a word a field."""
    kinds = [kind for _, _, kind in FIELDS[document]]
    assert tuple(name for name, _, _ in FIELDS[document]) == document.__struct_fields__
    converters = [_WORDS[kind][1] for kind in kinds]
    count = converters.index(None)
    # Hashes are new each time, so they are not worth remembering.
    if "bytes32" in kinds[:count] or any(converters[count:]):
        return _hasher_of_any(document)
    pack = packer_after_names(document)

    def hashed(value: Document) -> bytes:
        values = astuple(value)
        return keccak256(name_words(document, *values[:count]) + pack(*values[count:]))

    return hashed


def packer_after_names(document: type[Document]) -> Callable[..., bytes]:
    """What makes the words of all fields that follow a document's names."""
    words = [_WORDS[kind] for _, _, kind in FIELDS[document]]
    return Struct(">" + "".join(form for form, to_bytes in words if to_bytes is None)).pack


@lru_cache(CACHED_MAX)
def name_words(document: type[Document], *names: str) -> bytes:
    """The type hash and the words of the names that a document begins with."""
    kinds = [kind for _, _, kind in FIELDS[document][: len(names)]]
    pack = Struct(">32s" + "".join(_WORDS[kind][0] for kind in kinds)).pack
    words = [_WORDS[kind][1] for kind in kinds]
    return pack(
        TYPE_HASHES[document],
        *(to_bytes(name) for to_bytes, name in zip(words, names, strict=True) if to_bytes),
    )


def _hasher_of_any(document: type[Document]) -> Callable[[Document], bytes]:
    """The same, of documents that do not begin with all their names."""
    kinds = [kind for _, _, kind in FIELDS[document]]
    pack = Struct(">32s" + "".join(_WORDS[kind][0] for kind in kinds)).pack
    converters = [(place, _WORDS[kind][1]) for place, kind in enumerate(kinds)]
    needed = tuple((place, to_bytes) for place, to_bytes in converters if to_bytes is not None)
    type_hash = TYPE_HASHES[document]

    def hashed(value: Document) -> bytes:
        values = list(astuple(value))
        for place, to_bytes in needed:
            values[place] = to_bytes(values[place])
        return keccak256(pack(type_hash, *values))

    return hashed


class _Hashers(dict[type[Document], Callable[[Document], bytes]]):
    """A class that only decodes in another way is hashed as the document that it derives from."""

    def __missing__(self, kind: type[Document]) -> Callable[[Document], bytes]:
        base = next((base for base in FIELDS if issubclass(kind, base)), None)
        if base is None or base.__struct_fields__ != kind.__struct_fields__:
            raise KeyError(kind)
        found = self[kind] = self[base]
        return found


_HASHERS: Final = _Hashers({document: _hasher(document) for document in FIELDS})


class Domain(msgspec.Struct, frozen=True, kw_only=True):
    """Where a signature counts: one settlement contract on one chain."""

    chain_id: int
    verifying_contract: str

    def separator(self) -> bytes:
        """The 32-byte EIP-712 domain separator."""
        return keccak256(
            _DOMAIN_TYPE_HASH
            + keccak256(DOMAIN_NAME.encode())
            + keccak256(DOMAIN_VERSION.encode())
            + self.chain_id.to_bytes(32, "big")
            + bytes(12)
            + _address_bytes(self.verifying_contract)
        )

    def prefix(self) -> bytes:
        """The 34 bytes that every digest of this domain starts with; remembered."""
        return _prefix(self)


@lru_cache(DOMAINS_MAX)
def _prefix(domain: Domain) -> bytes:
    return b"\x19\x01" + domain.separator()


def struct_hash(document: Document) -> bytes:
    """hashStruct(document) of EIP-712, 32 bytes."""
    return _HASHERS[type(document)](document)


def digest(prefix: bytes, document: Document) -> bytes:
    """The 32 bytes that are signed; `prefix` is `Domain.prefix()`."""
    return keccak256(prefix + _HASHERS[type(document)](document))


def typed_data(domain: Domain, document: Document) -> dict[str, Any]:
    """The JSON that any wallet signs (`eth_signTypedData_v4`)."""
    return {
        **schema(domain, type(document)),
        "message": msgspec.to_builtins(document),
    }


def schema(domain: Domain, document: type[Document]) -> dict[str, Any]:
    """`typed_data` without a message: domain, types and primary type."""
    return {
        "domain": {
            "name": DOMAIN_NAME,
            "version": DOMAIN_VERSION,
            "chainId": domain.chain_id,
            "verifyingContract": domain.verifying_contract,
        },
        "types": {
            "EIP712Domain": [{"name": name, "type": kind} for name, kind in DOMAIN_FIELDS],
            document.__name__: [{"name": wire, "type": kind} for _, wire, kind in FIELDS[document]],
        },
        "primaryType": document.__name__,
    }
