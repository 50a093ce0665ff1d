"""What contracts/README.md says is tested against: those tests and mutants exist."""

import re
import tomllib
from pathlib import Path
from typing import Any

from contracts.tool.mutants import Mutant, takers_of

CONTRACTS = Path(__file__).parents[2] / "contracts"
README = (CONTRACTS / "README.md").read_text()
ATTACKS_MIN = 40
CELLS = 28
GROUPS = 11
PROOFS_MIN = 25


def section(title: str) -> str:
    """A part of the README, up to the next of its level."""
    return README.split(f"\n## {title}\n")[1].split("\n## ")[0]


def named(text: str) -> list[str]:
    """Every test that a text names."""
    return re.findall(r"`(test\w+)`", text)


def existing() -> set[str]:
    """Every test of the contracts, and those in Python that may be named beside them."""
    solidity = CONTRACTS.joinpath("test").glob("*.t.sol")
    python = Path(__file__).parents[1].glob("gateway/test_*.py")
    return {
        name
        for path in (*solidity, *python)
        for name in re.findall(r"(?:function|def) (test\w+)\(", path.read_text())
    }


def campaigns() -> set[str]:
    """Every invariant that forge holds after each call of a random sequence."""
    sources = [path.read_text() for path in CONTRACTS.joinpath("test").glob("*Invariant.t.sol")]
    return {name for source in sources for name in re.findall(r"function (invariant_\w+)", source)}


def mutants() -> list[dict[str, Any]]:
    """All that `tool/mutants.py` tries."""
    table = tomllib.loads((CONTRACTS / "tool" / "mutants.toml").read_text())["mutant"]
    assert isinstance(table, list)
    return table


def test_every_test_that_is_named_exists() -> None:
    """Thieves, replays and attacks: no table names a test that is not there."""
    tests = existing()
    for title in ("What a thief can take", "Replay", "Known attacks"):
        names = named(section(title))
        assert names
        assert [name for name in names if name not in tests] == []


def test_the_replay_matrix_is_full() -> None:
    """Seven places and times, four kinds of signature, a test of its own in each cell."""
    rows = [row.split("|")[2:6] for row in section("Replay").splitlines()[5:14] if "`test" in row]
    cells = [named(cell) for row in rows for cell in row]
    assert len(rows) == 7
    assert [len(cell) for cell in cells] == [1] * CELLS
    assert len({cell[0] for cell in cells}) == CELLS


def test_all_groups_of_attacks_have_forty_tests() -> None:
    """Ten of others and one of ours have tests and mutants, and enough besides the replays."""
    rows = [row.split("|") for row in section("Known attacks").splitlines()]
    groups = [row for row in rows if len(row) > 1 and re.match(r" \d+\. ", row[1])]
    assert [int(row[1].split(".")[0]) for row in groups] == list(range(1, GROUPS + 1))
    assert all(named(row[2]) or "28 above" in row[2] for row in groups)
    assert len(set(named(section("Known attacks")))) >= ATTACKS_MIN
    known = {mutant["name"] for mutant in mutants()}
    for row in groups:
        guards = re.findall(r'"([^"]+)"', row[3])
        assert guards
        assert [guard for guard in guards if guard not in known] == []


def test_there_are_as_many_proofs_as_the_readme_says() -> None:
    """Each is a function that halmos finds by its name, and there are at least 25."""
    sources = [path.read_text() for path in CONTRACTS.joinpath("symbolic").glob("*.t.sol")]
    count = sum(len(re.findall(r"function check_\w+\(", source)) for source in sources)
    assert count >= PROOFS_MIN
    assert f"halmos 0.3.3 and yices: {count} of words" in README


def test_mutants_name_tests_that_exist() -> None:
    """What a mutant has to break is there to be broken, and mutants have names of their own.

    Each campaign of invariants is broken by one.
    """
    tests = existing()
    table = mutants()
    names = [test for mutant in table for test in mutant.get("tests", ())]
    assert names
    assert [name for name in names if name not in tests] == []
    assert len({mutant["name"] for mutant in table}) == len(table)
    assert {name for mutant in table for name in mutant.get("invariants", ())} == campaigns()


def test_every_attack_has_a_mutant_that_lets_it_succeed() -> None:
    """Each test of the tables is named by a mutant, which is killed only if that test fails.

    Or no guard of ours is behind it: then the README says what is.
    """
    broken = {test for mutant in mutants() for test in mutant.get("tests", ())}
    exempt = named(section("Known attacks").split("No mutant: ")[1].split("\n\n")[0])
    attacks = named(section("Replay")) + named(section("Known attacks").split("No mutant: ")[0])
    assert [test for test in attacks if test not in {*broken, *exempt}] == []
    assert [test for test in exempt if test in broken or test not in attacks] == []


def test_every_mutant_fits_its_source() -> None:
    """The text that a mutant replaces stands there exactly once."""
    misfits = [
        mutant["name"]
        for mutant in mutants()
        if (CONTRACTS / "src" / f"{mutant['source']}.sol").read_text().count(mutant["text"]) != 1
    ]
    assert misfits == []


def test_tests_that_have_a_source_inside_are_compiled_again() -> None:
    """Forge would run them as they were: a mutant that they alone see would survive."""

    def takers(source: str) -> set[str]:
        mutant = Mutant(name="any", source=source, text="", mutation="")
        return {path.name for path in takers_of(CONTRACTS, mutant)}

    assert takers("CapWord") == {"CapWord.t.sol", "RegistryHarness.sol"}
    assert takers("SessionCharges") == {"RegistryHarness.sol"}
    assert takers("Escrow") == set()
