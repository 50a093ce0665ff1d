"""ABI items as objects that encode and decode. Nothing here knows a particular contract."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any, Final

import msgspec
from eth_abi.abi import decode, encode
from eth_abi.exceptions import DecodingError
from tiny_keccak import keccak256

from contracts.fault import WrongContract

WORD: Final = 32


class Parameter(msgspec.Struct, frozen=True, kw_only=True):
    """An input or output, as an ABI lists it."""

    type: str
    name: str = ""
    components: tuple["Parameter", ...] = ()
    indexed: bool = False

    @property
    def canonical(self) -> str:
        """The type as signatures spell it: structs become tuples."""
        if not self.type.startswith("tuple"):
            return self.type
        inner = ",".join(part.canonical for part in self.components)
        return f"({inner}){self.type.removeprefix('tuple')}"


class Item(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """A function, event, error or constructor of an ABI."""

    type: str
    name: str = ""
    inputs: tuple[Parameter, ...] = ()
    outputs: tuple[Parameter, ...] = ()

    @cached_property
    def signature(self) -> str:
        """Name and types, as they are hashed."""
        return f"{self.name}({','.join(part.canonical for part in self.inputs)})"

    @cached_property
    def topic(self) -> bytes:
        """keccak256 of the signature: an event's first topic."""
        return keccak256(self.signature.encode())

    @property
    def selector(self) -> bytes:
        """The first four bytes of a call or of an error."""
        return self.topic[:4]

    def encode(self, *arguments: object) -> bytes:
        """Calldata of a call of this function."""
        return self.selector + self.encode_inputs(*arguments)

    def encode_inputs(self, *arguments: object) -> bytes:
        """The arguments alone, as a constructor takes them."""
        return encode([part.canonical for part in self.inputs], arguments)

    def decode_inputs(self, data: bytes) -> tuple[Any, ...]:
        """Arguments of a call or of an error, without the selector."""
        return tuple(decode([part.canonical for part in self.inputs], data))

    def decode_outputs(self, data: bytes) -> tuple[Any, ...]:
        """What a call returned. Raises WrongContract: nothing of ours answers like that."""
        try:
            return tuple(decode([part.canonical for part in self.outputs], data))
        except (DecodingError, OverflowError, UnicodeDecodeError) as error:
            raise WrongContract(f"{self.name} answered 0x{data[:36].hex()}: {error}") from error

    def decode_log(self, topics: Sequence[bytes], data: bytes) -> dict[str, Any]:
        """An event's fields by name. Raises DecodingError where the log is of another form."""
        indexed = [part for part in self.inputs if part.indexed]
        plain = [part for part in self.inputs if not part.indexed]
        if len(topics) != len(indexed) + 1 or topics[0] != self.topic:
            raise DecodingError(f"not a log of {self.signature}")
        values = dict(
            zip(
                [part.name for part in plain],
                decode([part.canonical for part in plain], data),
                strict=True,
            )
        )
        for part, topic in zip(indexed, topics[1:], strict=True):
            (values[part.name],) = decode([part.canonical], topic)
        return values
