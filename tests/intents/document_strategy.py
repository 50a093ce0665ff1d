"""Hypothesis strategies for every signed document, made from the documents' own annotations."""

from typing import Any

import msgspec
from hypothesis import strategies as st
from msgspec.inspect import BoolType, Field, IntType, Metadata, StrType, StructType

from intents.document import SIGNED, Document


def integer_bounds(field: Field) -> tuple[int, int] | None:
    """The declared range of an integer field; None for any other field."""
    kind = field.type
    assert isinstance(kind, Metadata)
    if not isinstance(kind.type, IntType):
        return None
    assert kind.type.ge is not None
    assert kind.type.le is not None
    return kind.type.ge, kind.type.le


def fields_of(document: type[Document]) -> tuple[Field, ...]:
    """The fields of a document with their annotations."""
    info = msgspec.inspect.type_info(document)
    assert isinstance(info, StructType)
    return info.fields


def _values(field: Field) -> st.SearchStrategy[Any]:
    kind = field.type
    assert isinstance(kind, Metadata)
    assert kind.extra is not None
    match kind.type, kind.extra["eip712"]:
        case BoolType(), _:
            return st.booleans()
        case IntType(), _:
            low, high = integer_bounds(field) or (0, 0)
            edges = st.sampled_from((low, low + 1, high - 1, high))
            return edges | st.integers(low, high)
        case StrType(), "address":
            return st.binary(min_size=20, max_size=20).map(lambda raw: "0x" + raw.hex())
        case StrType(), "bytes32":
            return st.binary(min_size=32, max_size=32).map(lambda raw: "0x" + raw.hex())
        case _:
            return st.text(max_size=40)


def of(document: type[Document]) -> st.SearchStrategy[Document]:
    """Any well-formed document of one type, edge values often."""
    return st.builds(document, **{field.name: _values(field) for field in fields_of(document)})


documents = st.one_of([of(document) for document in SIGNED])
"""Any well-formed document."""
