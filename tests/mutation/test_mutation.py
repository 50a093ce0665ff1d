"""The tool itself: what it changes, what it leaves alone, and that its verdicts are true."""

import ast
import gc
import sys
from pathlib import Path
from types import FunctionType
from typing import Any, Final, NoReturn

import pytest

from intents import rounding
from tests.mutation.edit import edits
from tests.mutation.mutant import Mutant, mutants_of
from tests.mutation.patch import put_into
from tests.mutation.reach import SLOW_SECONDS, Tracer, measure
from tests.mutation.report import accepted, report
from tests.mutation.result import Results
from tests.mutation.scope import MODULES
from tests.mutation.trial import Fate, Verdict, judged, within

SOURCE: Final = '''
"""A text."""
LIMIT: Final = 5

def admit(units: int, *, spare: bool = False) -> int | None:
    """Another."""
    if units < LIMIT and not spare:
        return reject(Code.SMALL, f"{units} is few", hint="more")
    total = max(units, 1) + 2
    record.total = total
    record.tell(total)
    check(total > 0, "positive", total=1)
    raise ValueError("no")
'''
GROW: Final = "def grow(by):\n    def grown(n):\n        return n + by\n    return grown"
ROUNDING: Final = "intents.rounding"


def _all_edits(source: str) -> list[tuple[str, str]]:
    tree = ast.parse(source)
    found = []
    for edit in edits(tree):
        edit.apply()
        found.append((edit.operator, ast.unparse(tree)))
        edit.undo()
    return found


def _mutant(module: str, function: str, after: str) -> Mutant:
    (found,) = (
        one for one in mutants_of(module) if one.function == function and after in one.after
    )
    return found


@pytest.mark.parametrize(
    ("operator", "expected"),
    [
        ("one more", "LIMIT: Final = 6"),
        ("one less", "LIMIT: Final = 4"),
        ("swap truth", "spare: bool=True"),
        ("swap comparison", "if units <= LIMIT and (not spare):"),
        ("swap logic", "if units < LIMIT or not spare:"),
        ("drop sign", "if units < LIMIT and spare:"),
        ("always", "if True:"),
        ("never", "if False:"),
        ("return nothing", "        return None"),
        ("swap twin", "min(units, 1)"),
        ("swap arithmetic", "max(units, 1) - 2"),
        ("delete assignment", "total = max(units, 1) + 2\n    pass\n    record.tell"),
        ("delete call", "record.total = total\n    pass\n    check"),
        ("swap comparison", "check(total >= 0, 'positive', total=1)"),
        ("delete statement", "total=1)\n    pass"),
    ],
)
def test_each_operator_makes_its_change(operator: str, expected: str) -> None:
    """Whatever could decide something is changed, one place at a time."""
    assert any(name == operator and expected in text for name, text in _all_edits(SOURCE))


def test_words_for_people_are_left_alone() -> None:
    """Docstrings, annotations, and the texts of rejects and checks are no behaviour."""
    for _, text in _all_edits(SOURCE):
        for words in ("A text.", "Another.", "units: int", "-> int | None"):
            assert words in text
        assert ("is few" in text and "hint='more'" in text) or "return None" in text
        assert "'positive', total=1" in text or "ValueError" in text


def test_every_edit_is_taken_back() -> None:
    """A tree is as it was after each of its mutants was compiled; each mutant has its name."""
    mutants = mutants_of(ROUNDING)
    before = ast.dump(mutants[0].tree)
    for one in mutants:
        one.code()
    assert ast.dump(mutants[0].tree) == before
    assert len({one.key for one in mutants}) == len(mutants)


def _functions(namespace: dict[str, Any]) -> dict[tuple[str, int], list[FunctionType]]:
    found: dict[tuple[str, int], list[FunctionType]] = {}
    for one in gc.get_objects():
        if isinstance(one, FunctionType) and one.__globals__ is namespace:
            code = one.__code__
            found.setdefault((code.co_qualname, code.co_firstlineno), []).append(one)
    return found


def test_a_live_function_takes_its_mutants_code() -> None:
    """Wherever it is bound, and what it made before too; others are as they were."""
    old = f"{GROW}\ndef one(): return 1"
    namespace: dict[str, Any] = {}
    exec(old, namespace)  # noqa: S102  the source stands above
    kept, one = namespace["grow"](5), namespace["one"]
    code = compile(old.replace("n + by", "n - by"), "<string>", "exec")
    assert put_into(_functions(namespace), code, "grow")
    assert (kept(1), namespace["grow"](5)(1), one()) == (-4, -4, 1)
    assert not put_into(_functions(namespace), code, "nowhere")


def test_what_does_not_fit_is_not_put_in() -> None:
    """A function that closes over other names needs a process of its own."""
    namespace: dict[str, Any] = {}
    exec(GROW, namespace)  # noqa: S102  the source stands above
    kept = namespace["grow"](5)
    code = compile(GROW.replace("n + by", "n"), "<string>", "exec")
    assert not put_into(_functions(namespace), code, "grow")
    assert kept(1) == 6


def _spin() -> None:
    while True:
        pass


def _exit() -> None:
    sys.exit(0)


def test_a_trial_says_what_became_of_the_mutant() -> None:
    """A failed test, an error or an exit kills; a loop ends in time; silence is survival."""

    def killed(say: Any) -> None:
        say(Verdict(Fate.KILLED, "test_x"))

    def endless(say: Any) -> None:
        def out_of_time() -> NoReturn:
            say(Verdict(Fate.TIMED_OUT, "test_y"))
            raise AssertionError

        within(-0.05, out_of_time)
        _spin()

    assert judged(killed) == Verdict(Fate.KILLED, "test_x")
    assert judged(endless) == Verdict(Fate.TIMED_OUT, "test_y")
    assert judged(lambda _: _exit()) == Verdict(Fate.KILLED, "raised SystemExit")
    assert judged(lambda _: None) == Verdict(Fate.SURVIVED)


def test_lines_are_known_by_the_tests_that_run_them() -> None:
    """The quick ones first; a slow one may run anything; one that fails judges nothing."""
    mutant = _mutant(ROUNDING, "mul_div_floor", "multiplicand // multiplier")

    file = "tests/intents/test_rounding.py"
    slow, quick, broken = (f"{file}::{name}" for name in ("slow", "quick", "broken"))

    def passes(name: str) -> bool:
        if name == quick:
            rounding.mul_div_floor(7, 3, 2)
        return name != broken

    reach = measure([slow, quick], passes, (ROUNDING,))
    assert reach.tests_of(ROUNDING, mutant.lines) == [quick]
    assert reach.is_watched(ROUNDING, mutant.lines)
    assert not reach.is_watched(ROUNDING, range(3))
    reach.seconds[slow] = SLOW_SECONDS + 1
    assert reach.tests_of(ROUNDING, mutant.lines) == [quick, slow]
    assert measure([slow, quick], lambda _: False, (ROUNDING,), reach) == reach, "known already"
    assert not measure([broken], passes, (ROUNDING,)).seconds


def test_watching_ends() -> None:
    """Nothing is traced afterwards."""
    tracer = Tracer((ROUNDING,))
    before = sys.gettrace()
    with tracer.watching() as lines:
        pass
    assert sys.gettrace() is before
    assert not lines


def test_a_campaign_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    """Verdicts are read again; a line that was cut off is tried anew."""
    first, second, *_ = mutants_of(ROUNDING)
    results = Results(tmp_path / "results.jsonl")
    results.write(first, Verdict(Fate.KILLED, "test_x"))
    with (tmp_path / "results.jsonl").open("ab") as file:
        file.write(b'{"key":"' + second.key.encode())
    again = Results(tmp_path / "results.jsonl")
    assert (again.fate_of(first), again.killer_of(first)) == (Fate.KILLED, "test_x")
    assert again.fate_of(second) is None


def test_a_low_score_is_not_enough(tmp_path: Path) -> None:
    """Survivors are listed with their change, and nine of ten have to be killed."""
    mutants = mutants_of(ROUNDING)[:20]
    results = Results(tmp_path / "results.jsonl")
    for place, one in enumerate(mutants):
        results.write(one, Verdict(Fate.SURVIVED if place < 2 else Fate.KILLED))
    assert report(mutants, results, everything=True)[1]
    results.write(mutants[2], Verdict(Fate.SURVIVED))
    text, enough = report(mutants, results, everything=True)
    assert not enough
    assert str(mutants[2]) in text


def test_what_is_explained_exists() -> None:
    """Each explanation is of a mutant that the sources have, and says something."""
    have = {one.name for module in MODULES for one in mutants_of(module)}
    assert not accepted().keys() - have
    assert all(accepted().values())
