"""A race counts only runs whose fills are right, of the code that it says it measures."""

from array import array
from pathlib import Path

import msgspec
import pytest

from tests.bench import core, traffic
from tests.bench.environment import ROOT, Environment, pure
from tests.bench.figure import Figure, print_figure
from tests.bench.race import Course, Entrant, FillFault, best_rate, race, run

CHEATS = {
    "drops_a_fill": "told = list(honest.fills())[:-1]",
    "swaps_two_fills": "told = list(honest.fills())\n        told[4], told[5] = told[5], told[4]",
    "moves_a_price": "told = [(a, b, c + 10**6, d) for a, b, c, d in honest.fills()]",
    "forgets_the_maker": "told = [(a, a, c, d) for a, b, c, d in honest.fills()]",
}


@pytest.fixture
def course(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Course:
    """A course whose one flow is short."""
    monkeypatch.setitem(traffic.FLOWS, "mixed", lambda: traffic.mixed(500))
    return Course(tmp_path / "course")


def ours(**changes: object) -> Entrant:
    """Our exchange from its source."""
    entrant = Entrant(engine="tests.bench.ours", environment=pure(), flow="mixed")
    return msgspec.structs.replace(entrant, **changes)


def test_a_race_measures_every_entrant_in_every_round(course: Course) -> None:
    """Two rounds of one entrant are two answers with rates."""
    answers = race(course, {"ours": ours(suffixes=(".py",))}, 2)
    assert [answer["operations"] for answer in answers["ours"]] == [500, 500]
    assert best_rate(answers["ours"]) > 0


@pytest.mark.parametrize("cheat", CHEATS.values(), ids=CHEATS.keys())
def test_an_engine_with_other_fills_ends_the_race(
    course: Course, tmp_path: Path, cheat: str
) -> None:
    """One missing, swapped, mispriced or nameless fill is found."""
    (tmp_path / "cheat.py").write_text(
        "from tests.bench import ours\n\n\ndef engine(flow):\n    honest = ours.engine(flow)\n\n"
        f"    def fills():\n        {cheat}\n        return told\n\n"
        "    return honest._replace(fills=fills)\n"
    )
    where = Environment(python=pure().python, path=(tmp_path, ROOT))
    with pytest.raises(FillFault, match="cheat on mixed: fill"):
        run(course, ours(engine="cheat", environment=where))


def test_code_from_elsewhere_ends_the_race(course: Course) -> None:
    """What claims to be compiled and was loaded from source is not counted."""
    with pytest.raises(FillFault, match="was loaded from"):
        run(course, ours(suffixes=(".so",)))


def test_an_adapter_is_taken_from_where_the_path_first_has_it(
    course: Course, tmp_path: Path
) -> None:
    """A build's adapter comes before the source that the rest of its package is taken from."""
    built = tmp_path / "tests" / "bench"
    built.mkdir(parents=True)
    (built / "ours.py").write_text("def engine(flow):\n    raise RuntimeError('the built one')\n")
    where = Environment(python=pure().python, path=(tmp_path, ROOT))
    with pytest.raises(FillFault, match="the built one"):
        run(course, ours(environment=where))


def test_an_engine_that_fails_ends_the_race(course: Course) -> None:
    """The fault has the engine's own words."""
    with pytest.raises(FillFault, match="No module named"):
        run(course, ours(engine="tests.bench.nobody"))


def test_a_stall_is_what_comes_back_in_each_round(capsys: pytest.CaptureFixture[str]) -> None:
    """Noise in one round is not the operation's; a stall in every round is."""
    core._print_stall(
        [array("q", (1, 9_000_000, 5_000_000)), array("q", (8_000_000, 1, 6_000_000))]
    )
    lines = [msgspec.json.decode(line, type=Figure) for line in capsys.readouterr().out.split()]
    assert [(line.name, line.value) for line in lines] == [
        ("stall_ms_max", 5.0),
        ("stall_ms_max_of_round", 8.0),
    ]


def test_a_figure_is_one_line_with_its_ratio(capsys: pytest.CaptureFixture[str]) -> None:
    """Value over peer, to four digits; without a peer there is no ratio."""
    print_figure("fast", 3_000_000.4, "operations/s", "slow", 900_000)
    print_figure("small", 1.23456, "ms")
    first, second = capsys.readouterr().out.splitlines()
    assert first == (
        '{"name":"fast","value":3000000,"unit":"operations/s",'
        '"peer":"slow","peer_value":900000,"ratio":3.333}'
    )
    assert msgspec.json.decode(second)["value"] == 1.235
    assert msgspec.json.decode(second)["ratio"] is None
