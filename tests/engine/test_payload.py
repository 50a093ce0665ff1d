"""Commands become bytes and the same commands again, whichever way they are read."""

from typing import Any, Final, get_args

import msgspec
import pytest

from solver.core.command import CancelDocument, Command, Fact
from solver.engine import payload as module
from solver.engine.payload import PayloadUnreadable, decode, encode
from tests.core.floor import a_walk

ADDRESS: Final = "0x" + "ab" * 20
HASH: Final = "0x" + "cd" * 32
KINDS: Final = get_args(Command)


def sample(kind: type[msgspec.Struct], number: int = 1) -> Any:
    """A value of this type with no field at its default."""
    values = {}
    for place, field in enumerate(msgspec.structs.fields(kind)):
        values[field.name] = _value(field.type, number + place)
    return kind(**values)


def _value(annotation: Any, number: int) -> Any:
    for candidate in (True, number, ADDRESS, HASH, f"text {number}"):
        try:
            return msgspec.convert(candidate, annotation)
        except msgspec.ValidationError:
            continue
    if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
        return sample(annotation, number)
    if hasattr(annotation, "__members__"):
        return list(annotation)[-1]
    inner = get_args(annotation)[0]
    if inner is get_args(Fact)[0] or get_args(inner):
        return tuple(sample(fact, number) for fact in get_args(Fact))
    return (_value(inner, number), _value(inner, number + 1))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_field_of_every_kind_comes_back(kind: type[msgspec.Struct]) -> None:
    """No field of any command is lost or changed: a new one is covered on the day it comes."""
    command = sample(kind)
    defaults = [f for f in msgspec.structs.fields(kind) if getattr(command, f.name) == f.default]
    assert not defaults
    (again,) = decode(encode([command]))
    assert again == command
    assert msgspec.msgpack.encode(again) == msgspec.msgpack.encode(command)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_the_quick_way_reads_what_the_careful_way_reads(kind: type[msgspec.Struct]) -> None:
    """Frequent kinds are put together by hand: they do not differ, nor fall back unnoticed."""
    names, (row,) = module._DECODER.decode(encode([sample(kind)]))
    careful = module._read(row, names)
    assert careful == sample(kind)
    if kind.__name__ in module._READERS:
        assert module._READERS[kind.__name__](row, names) == careful


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_what_is_said_by_its_place_is_text(kind: type[msgspec.Struct]) -> None:
    """A field that is no text cannot be among the names: each place is of one that is."""
    command = sample(kind)
    for struct in (command, getattr(command, module._SIGNED.get(kind, ("at_ms",))[0])):
        for index in module._NAMED.get(type(struct), ()):
            assert isinstance(getattr(struct, struct.__struct_fields__[index]), str)


def test_names_are_written_once() -> None:
    """However many commands name an account, a group's bytes hold it once."""
    cancel = CancelDocument(at_ms=1, account=ADDRESS, digest=HASH)
    written = encode([cancel] * 50)
    assert written.count(cancel.account.encode()) == 1
    assert decode(written) == [cancel] * 50


def test_a_walk_comes_back() -> None:
    """A few hundred commands of a real market, in one group."""
    log = a_walk(3, 150).log
    assert decode(encode(log)) == log


def test_an_older_row_gets_the_defaults() -> None:
    """A field that was added at the end of a class is missing in older journals."""
    command = sample(next(kind for kind in KINDS if kind.__name__ == "OpenResource"))
    names, (row,) = module._DECODER.decode(encode([command]))
    (again,) = decode(msgspec.msgpack.encode([names, [row[:-1]]]))
    assert again == type(command)(at_ms=command.at_ms, resource=command.resource)


@pytest.mark.parametrize(
    "said",
    [
        "no group",
        [],
        [["Tick"]],
        [["Tick"], "no rows"],
        [["Tick"], ["no row"]],
        [["Tick"], [[]]],
        [[1], [[0, 1]]],
        [["Tick"], [[1, 1]]],
        [["Tick"], [["Tick", 1]]],
        [["Unknown"], [[0, 1]]],
        [["Tick"], [[0, 1, 2, 3]]],
        [["OpenResource"], [[0, "soon", "a/b:call"]]],
        [["FinishCall"], [[0, 1, "call", "vanished", 1]]],
        [["PoolKey"], [[0, 1, 2, 3, 4, 5, 6]]],
        [["CancelDocument"], [[0, 1, 1, "0x"]]],
        [["CancelDocument"], [[0, 1, "0x", "0x"]]],
        [["SubmitIntent"], [[0, 1]]],
        [["SubmitIntent"], [[0, 1, [1, 2, 3], "d", 0, 0, "x"]]],
        [["SubmitIntent"], [[0, 1, [1, 2, 3], "d", "s", 0, "x"]]],
    ],
)
def test_what_is_no_group_is_refused(said: object) -> None:
    """Bytes that are no commands of ours raise the one fault of this module."""
    with pytest.raises(PayloadUnreadable):
        decode(msgspec.msgpack.encode(said))
