"""Commands become bytes and the same commands again, whichever way they are read."""

from collections.abc import Sequence
from typing import Any, Final, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from intents.bulk import Tree, tree
from intents.place import Place
from solver.core.command import CancelDocument, Command, SubmitIntent
from solver.core.document import IntentState
from solver.core.fact import Fact
from solver.engine import payload as module
from solver.engine.batch import Entry
from solver.engine.payload import PayloadUnreadable, Said, decode, encode
from tests.builder import record_of
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
    said = Said(encode([sample(kind)]))
    ((block,), (at_ms,)) = said.blocks, said.times_ms
    (row,) = block.rows()
    careful = module._read(block.kind, row, at_ms, said.names)
    assert careful == sample(kind)
    if kind.__name__ in module._READERS:
        assert module._READERS[kind.__name__](row, at_ms, said.names) == careful


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_what_is_said_by_its_place_is_text(kind: type[Command]) -> None:
    """A field that is no text cannot be among the names: each place is of one that is."""
    command = sample(kind)
    signed = [getattr(command, module._SIGNED[kind][0])] if kind in module._SIGNED else []
    for struct in (command, *signed):
        for index in module._NAMED.get(type(struct), ()):
            assert isinstance(getattr(struct, struct.__struct_fields__[index]), str)


def test_names_are_written_once() -> None:
    """However many commands name an account, a group's bytes hold it once."""
    cancel = CancelDocument(at_ms=1, account=ADDRESS, digest=HASH)
    written = encode([cancel] * 50)
    assert written.count(cancel.account.encode()) == 1
    assert decode(written) == [cancel] * 50


def tree_of(number: int, count: int) -> Tree:
    """A tree of so many leaves, another one for each number."""
    return tree([number.to_bytes(16, "big") + place.to_bytes(16, "big") for place in range(count)])


def bulk(number: int, count: int) -> list[SubmitIntent]:
    """Intents as a bulk of their own brings them."""
    return [
        replace(sample(SubmitIntent), signature=f"0x{number:0130x}", proof=proof)
        for proof in tree_of(number, count).proofs()[:count]
    ]


def records(number: int, commands: Sequence[SubmitIntent]) -> list[IntentState]:
    """The records of such a bulk, each with its leaf of the tree."""
    nodes = tree_of(number, len(commands)).nodes
    made = [record_of(command) for command in commands]
    for place, record in enumerate(made):
        record.proof_or_place = Place(nodes, len(commands), place)
    return made


@given(
    st.lists(
        st.one_of(
            st.builds(bulk, st.integers(1, 3), st.integers(1, 20)),
            st.just([sample(SubmitIntent)]),
            st.just([replace(sample(SubmitIntent), signature="", proof="")]),
            st.just([sample(CancelDocument)]),
        ),
        max_size=6,
    ),
    st.data(),
)
def test_what_was_signed_together_comes_back(
    parts: Sequence[Sequence[Command]], data: st.DataObject
) -> None:
    """Each keeps its own signature and proof, whoever stands before it and whatever is left out."""
    commands = [command for part in parts for command in part]
    kept = [command for command in commands if data.draw(st.booleans())]
    for some in (commands, kept):
        assert decode(encode(some)) == list(some)


def test_what_was_signed_together_is_said_once() -> None:
    """A bulk's intent takes its digest and two siblings, about: not its whole proof."""
    commands = bulk(1, 64)
    alone = sum(len(encode([command])) for command in commands)
    assert len(encode(commands)) < 64 * 320 < alone / 2


@pytest.mark.parametrize("shared", [0, -1, 10**6, "many", None])
def test_a_proof_that_shares_what_is_not_there_is_refused(shared: object) -> None:
    """No proof is made up from one that is too short."""
    parts = msgspec.msgpack.decode(encode(bulk(1, 4)[:2]))
    parts[-1][0][-1][1][1] = shared
    with pytest.raises(PayloadUnreadable):
        decode(msgspec.msgpack.encode(parts))


def test_what_is_the_same_throughout_is_said_once() -> None:
    """A column takes one value where all have it; one that differs, first or last, is kept."""
    command = sample(SubmitIntent)
    for place in (0, 1, 2):
        commands = [command] * 3
        commands[place] = replace(command, intent=replace(command.intent, units=77))
        (block,) = msgspec.msgpack.decode(encode(commands))[-1]
        assert sorted(map(len, block)) == [1] * 15 + [3]
        assert decode(encode(commands)) == commands


@pytest.mark.parametrize("length", [0, 2, 4])
def test_a_column_of_another_length_is_refused(length: int) -> None:
    """No command is left out, and none is made of another's fields."""
    commands = [replace(sample(SubmitIntent), digest=f"0x{place:064x}") for place in range(3)]
    parts = msgspec.msgpack.decode(encode(commands))
    parts[-1][0][11] = (parts[-1][0][11] * 2)[:length]
    with pytest.raises(PayloadUnreadable):
        decode(msgspec.msgpack.encode(parts))


def test_a_walk_comes_back() -> None:
    """A few hundred commands of a real market, in one group."""
    log = a_walk(3, 150).log
    assert decode(encode(log)) == log


def test_an_older_group_gets_the_defaults() -> None:
    """A field that was added at the end of a class is missing in older journals."""
    command = sample(next(kind for kind in KINDS if kind.__name__ == "OpenResource"))
    parts = msgspec.msgpack.decode(encode([command]))
    parts[-1][0].pop()
    (again,) = decode(msgspec.msgpack.encode(parts))
    assert again == type(command)(at_ms=command.at_ms, resource=command.resource)


@pytest.mark.parametrize(
    "said",
    [
        "no group",
        [],
        [[], ["Tick"], b"\0", [1]],
        [[], ["Tick"], b"\0", "no times", [[]]],
        [[], ["Tick"], b"\0", [1, 2], [[]]],
        [[], ["Tick"], b"\0\1", [1], [[]]],
        [[], ["Tick"], b"\0", [1], ["no columns"]],
        [[], ["Tick"], b"\0", [1], []],
        [[1], ["Tick"], b"\0", [1], [[]]],
        [[], ["Tick"], b"\0", ["soon"], [[]]],
        [[], ["Unknown"], b"\0", [1], [[]]],
        [[], ["Tick"], b"\0", [1], [[[2]]]],
        [[], ["OpenResource"], b"\0", [1], [[[7]]]],
        [[], ["FinishCall"], b"\0", [1], [[["call"], ["vanished"], [1]]]],
        [[], ["PoolKey"], b"\0", [1], [[[2], [3], [4], [5], [6]]]],
        [[], ["CancelDocument"], b"\0", [1], [[[1], ["0x"]]]],
        [[], ["CancelDocument"], b"\0", [1], [[["0x"], ["0x"]]]],
        [[], ["SubmitIntent"], b"\0", [1], [[]]],
        [["a"], ["SubmitIntent"], b"\0", [1], [[[0]] * 12]],
        [["a"], ["SubmitIntent"], b"\0", [1], [[[0]] * 16]],
    ],
)
def test_what_is_no_group_is_refused(said: object) -> None:
    """Bytes that are no commands of ours raise the one fault of this module."""
    with pytest.raises(PayloadUnreadable):
        decode(msgspec.msgpack.encode(said))


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 12)), max_size=8))
def test_a_record_is_said_as_its_command(parts: list[tuple[bool, int]]) -> None:
    """Alone or together, between commands: whoever reads the group finds SubmitIntents."""
    commands: list[SubmitIntent] = []
    entries: list[Entry] = []
    for as_records, count in parts:
        some = bulk(count, count)
        commands += some
        entries += records(count, some) if as_records else some
    times_ms = [command.at_ms for command in commands]
    assert decode(encode(entries, times_ms)) == commands


@given(st.integers(1, 40), st.data())
def test_a_leaf_is_said_behind_any_other_of_its_tree(count: int, data: st.DataObject) -> None:
    """In whatever order a tree's intents are taken, and as short as their commands are."""
    order = data.draw(st.permutations(range(count)))
    commands = [bulk(1, count)[place] for place in order]
    times_ms = [command.at_ms for command in commands]
    leaves = records(1, bulk(1, count))
    written = encode([leaves[place] for place in order], times_ms)
    assert decode(written) == commands
    assert len(written) <= len(encode(commands)) + count
