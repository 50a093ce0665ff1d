"""What the packer of EIP-712 words does with values that no decoder lets through."""

import struct

import msgspec
import pytest

from intents import typed_data
from intents.typed_data import digest
from tests.builder import PREFIX, alice, an_intent, an_offer


@pytest.mark.parametrize("number", [2**64, -1])
def test_an_integer_that_does_not_fit_is_never_cut(number: int) -> None:
    """Documents made by hand can hold any number: it is an error, not another number."""
    document = msgspec.structs.replace(an_intent().build(alice), units=number)
    with pytest.raises(struct.error):
        digest(PREFIX, document)


@pytest.mark.parametrize("size", [0, 19, 21])
def test_an_address_is_twenty_bytes(size: int) -> None:
    """A shorter or longer one is neither padded nor cut."""
    document = msgspec.structs.replace(an_intent().build(alice), account="0x" + "ab" * size)
    with pytest.raises(ValueError, match="where 20 belong"):
        digest(PREFIX, document)


@pytest.mark.parametrize("size", [31, 33])
def test_a_hash_is_thirty_two_bytes(size: int) -> None:
    """A shorter or longer one is neither padded nor cut."""
    document = msgspec.structs.replace(an_offer().build(alice), key="0x" + "ab" * size)
    with pytest.raises(ValueError, match="where 32 belong"):
        digest(PREFIX, document)


def test_what_is_remembered_is_bounded() -> None:
    """Ten thousand accounts and resources do not stay in memory."""
    for number in range(10_000):
        account = f"0x{number:040x}"
        document = an_intent().of(f"a/b:{number}").build(alice)
        digest(PREFIX, msgspec.structs.replace(document, account=account))
    for cache in (typed_data._address_bytes, typed_data._text_hash, typed_data.name_words):
        assert cache.cache_info().currsize <= typed_data.CACHED_MAX
