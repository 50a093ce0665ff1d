"""The commands that buy many at once, against a served market."""

import asyncio
import os
import re
import sys
from pathlib import Path

import msgspec
import pytest

from solver.client import Purchase, Rejected
from tests.builder import alice, bob
from tests.gateway.world import DOCS, World
from tests.patience import until


async def keyfill(
    world: World, folder: Path, *words: str, columns: int = 200, told: str = ""
) -> tuple[int, str]:
    """Run a command as alice: exit code, standard output and error together."""
    (folder / "keys").mkdir(exist_ok=True)
    (folder / "keys" / "me.key").write_text(alice.key.secret().hex())
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "solver.cli",
        *words,
        "--data-dir",
        str(folder),
        "--url",
        world.url,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=os.environ | {"COLUMNS": str(columns)},
    )
    out, _ = await process.communicate(told.encode())
    return process.returncode or 0, out.decode()


def purchases(folder: Path, *lines: object) -> str:
    """A file of purchases."""
    path = folder / f"purchases-{len(lines)}.jsonl"
    path.write_bytes(b"\n".join(map(msgspec.json.encode, lines)) + b"\n\n")
    return str(path)


async def test_a_file_of_purchases_is_bought_over_one_signature(
    world: World, tmp_path: Path
) -> None:
    """Each line is an intent; what is refused says why, beside those that are not."""
    file = purchases(
        tmp_path,
        {"resource": DOCS, "units": 2, "limit": "0.0001"},
        {"resource": "no/such:thing", "units": 1, "limit": "0.01"},
        {"resource": DOCS, "units": 1, "limit": "0.00005", "minutes": 5},
    )
    code, output = await keyfill(world, tmp_path, "intent", "many", file, "--json")
    assert code == 0, output
    rows = msgspec.json.decode(output)
    assert [row["result"] for row in rows] == ["accepted", "resource_unknown", "accepted"]
    state = world.gateway.state
    assert {row["digest"] for row in rows if row["result"] == "accepted"} == set(state.intents)
    assert all(record.proof for record in state.intents.values())


async def test_a_mandate_is_made_used_and_withdrawn(world: World, tmp_path: Path) -> None:
    """From the command line alone; its secret is its owner's only and never printed."""
    await world.offering(bob, units=5, limit=5)
    code, output = await keyfill(
        world, tmp_path, "mandate", "create", "--limit", "0.001", "--price", "0.0001", "--json"
    )
    assert code == 0, output
    digest = msgspec.json.decode(output)["digest"]
    kept = tmp_path / "mandates" / f"{digest}.json"
    assert kept.stat().st_mode & 0o077 == 0
    assert msgspec.json.decode(kept.read_bytes())["secret"] not in output
    file = purchases(tmp_path, {"resource": DOCS, "units": 2, "limit": "0.0002"})
    code, output = await keyfill(world, tmp_path, "mandate", "buy", digest, file, "--json")
    assert (code, msgspec.json.decode(output)[0]["result"]) == (0, "accepted")
    code, output = await keyfill(world, tmp_path, "mandate", "show", digest, "--json")
    assert msgspec.json.decode(output)["committed"] == "0.000002"
    code, output = await keyfill(world, tmp_path, "mandate", "end", digest, "--json")
    assert (code, msgspec.json.decode(output)["live"]) == (0, False)
    code, output = await keyfill(world, tmp_path, "mandate", "buy", digest, file)
    assert code == 1
    assert "mandate_ended" in output


async def test_a_secret_that_was_lost_or_seen_is_replaced(world: World, tmp_path: Path) -> None:
    """The mandate goes on with another; the old one buys nothing more, and neither is printed."""
    mandate = await world.agent(alice).mandate(limit=1_000, tick_max=10**9)
    file = purchases(tmp_path, {"resource": DOCS, "units": 1, "limit": "0.0001"})
    code, output = await keyfill(world, tmp_path, "mandate", "buy", mandate.digest, file)
    assert (code, "replace-secret" in output) == (1, True)
    code, output = await keyfill(world, tmp_path, "mandate", "replace-secret", mandate.digest)
    assert code == 0, output
    kept = tmp_path / "mandates" / f"{mandate.digest}.json"
    assert kept.stat().st_mode & 0o077 == 0
    assert msgspec.json.decode(kept.read_bytes())["secret"] not in output
    code, output = await keyfill(world, tmp_path, "mandate", "buy", mandate.digest, file, "--json")
    assert (code, msgspec.json.decode(output)[0]["result"]) == (0, "accepted")
    with pytest.raises(Rejected, match="unauthenticated"):
        await mandate.buy_many([Purchase(resource=DOCS, units=1, limit=100)])
    assert list(kept.parent.iterdir()) == [kept]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ({"resource": DOCS, "units": 0, "limit": "1"}, "line 1"),
        ({"resource": DOCS, "units": 1, "limit": "ten"}, "no amount of USDC"),
        ({"resource": DOCS, "units": 1, "limit": "1", "colour": 1}, "colour"),
        ([], "line 1"),
    ],
)
async def test_a_wrong_line_is_named(world: World, tmp_path: Path, line: object, told: str) -> None:
    """Nothing is bought of a file with a wrong line, and the line is named."""
    file = purchases(tmp_path, line)
    code, output = await keyfill(world, tmp_path, "intent", "many", file)
    assert code == 1
    assert told in output
    assert "Traceback" not in output
    assert not world.gateway.state.intents


async def test_files_that_are_not_there_are_named(world: World, tmp_path: Path) -> None:
    """One line that helps, for purchases and for mandates of others."""
    digest = "0x" + "ab" * 32
    line = {"resource": DOCS, "units": 1, "limit": "1"}
    for words, told in (
        (("intent", "many", "missing.jsonl"), "cannot be read"),
        (("intent", "many", purchases(tmp_path)), "has no purchases"),
        (("mandate", "buy", digest, purchases(tmp_path, [], [])), "line 1"),
        (("mandate", "buy", digest, purchases(tmp_path, line)), "replace-secret"),
        (("mandate", "end", digest), "mandate_unknown"),
        (("mandate", "replace-secret", digest), "mandate_unknown"),
        (("mandate", "replace-secret", "../x"), "is no id of a mandate"),
        (("mandate", "show", "0x12"), "is no id of a mandate"),
        (("mandate", "create", "--limit", "1", "--price", "0"), "--price"),
    ):
        code, output = await keyfill(world, tmp_path, *words)
        assert code == 1, words
        assert told in output.replace("\n", " "), (words, output)
        assert "Traceback" not in output


async def test_what_cannot_be_is_refused_in_the_words_of_the_command(
    world: World, tmp_path: Path
) -> None:
    """Ids and numbers that the market would refuse by names of its own."""
    digest = "0x" + "ab" * 32
    amount = ("--units", "3", "--limit", "1")
    for words, told in (
        (("intent", "show", "0x12"), "is no id of an intent"),
        (("intent", "done", "0x12"), "is no id of an intent"),
        (("intent", "create", DOCS, *amount, "--minutes", "0"), "--minutes is 1 to 527,040"),
        (("intent", "create", DOCS, *amount, "--minimum", "4"), "--minimum is 1 to 3"),
        (("offer", "show", "0x12"), "is no id of an offer"),
        (("offer", "withdraw", digest.upper()), "is no id of an offer"),
        (("offer", "create", DOCS, "--key", "0x12", *amount), "is no id of a key"),
        (
            ("offer", "create", DOCS, "--key", digest, *amount, "--window-units", "3"),
            "come together",
        ),
        (("key", "health", "0x12"), "is no id of a key"),
        (("mandate", "create", "--limit", "1", "--price", "1", "--hours", "0"), "--hours is 1"),
        (("call", digest, "PUT", "/x"), "GET or POST"),
    ):
        code, output = await keyfill(world, tmp_path, *words)
        assert (code, told in output.replace("\n", " ")) == (1, True), (words, output)
        assert "Traceback" not in output


async def test_ids_are_never_cut(world: World, tmp_path: Path) -> None:
    """They are there to be copied, however narrow the terminal is."""
    for units in (1, 2):
        await world.agent(alice).intent(DOCS, units=units, limit=10)
    for columns in (200, 60):
        code, output = await keyfill(world, tmp_path, "intent", "list", columns=columns)
        assert code == 0
        assert all(digest in output for digest in world.gateway.state.intents)
        assert ("1 of 2" in output) == (columns == 60)


async def test_a_key_is_read_from_standard_input(world: World, tmp_path: Path) -> None:
    """From a pipe, by a lone hyphen; it is not printed."""
    words = ("key", "add", "datasette", "--secret-file", "-", "--attest")
    code, output = await keyfill(world, tmp_path, *words, told="a-key-of-mine\n")
    assert code == 0, output
    assert "a-key-of-mine" not in output
    assert len(world.gateway.state.keys) == 1


async def test_keys_are_found_again_by_who_brought_them(world: World, tmp_path: Path) -> None:
    """Each with its id, by its owner alone; nobody who has none is shown anything."""
    key = await world.key(alice)
    await world.key(bob)
    code, output = await keyfill(world, tmp_path, "key", "list", "--json")
    assert (code, [row["key"] for row in msgspec.json.decode(output)]) == (0, [key])
    await world.contributor(alice).revoke(key)
    code, output = await keyfill(world, tmp_path, "key", "list", "--json")
    assert (code, [row["live"] for row in msgspec.json.decode(output)]) == (0, [False])


async def test_who_waits_for_what_he_sells_himself_is_told(world: World, tmp_path: Path) -> None:
    """Nobody buys from himself, and without a word one would wait for the intent's end."""
    await world.offering(alice)
    words = ("intent", "create", DOCS, "--units", "1", "--limit", "1", "--minutes", "1", "--wait")
    waiting = asyncio.create_task(keyfill(world, tmp_path, *words))
    await until(lambda: world.gateway.state.intents)
    (digest,) = world.gateway.state.intents
    await (await world.agent(alice).find(digest)).cancel()
    code, output = await waiting
    assert (code, "only others sell to you" in output) == (1, True), output


@pytest.mark.parametrize(
    "words",
    [(), ("intent", "create"), ("bundle", "create"), ("account", "withdraw"), ("up",)],
)
async def test_help_says_what_everything_is(words: tuple[str, ...]) -> None:
    """Without an empty default, a double name, or an option that nobody needs."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "solver.cli",
        *words,
        "--help",
        stdout=asyncio.subprocess.PIPE,
        env=os.environ | {"COLUMNS": "200"},
    )
    output = (await process.communicate())[0].decode()
    assert process.returncode == 0
    lines = [line.strip("│ ") for line in output.splitlines() if line.startswith("│")]
    # A name, at least two blanks, and a sentence.
    assert all(re.search(r"\S {2,}\S", line.lstrip("* ")) for line in lines), output
    assert not re.search(r'--no-|default: ""|default: (None|False)', output)
