"""The score of each module and package, and the survivors with what is said about them."""

import tomllib
from collections.abc import Sequence

import msgspec

from tests.mutation.mutant import Mutant
from tests.mutation.result import Results
from tests.mutation.scope import ACCEPTED, MODULES, PACKAGES, SCORE_MIN
from tests.mutation.trial import Fate

_DEAD = (Fate.KILLED, Fate.TIMED_OUT)


class Score(msgspec.Struct, frozen=True, kw_only=True):
    """Of some mutants that were tried."""

    mutants: int
    killed: int
    timed_out: int
    accepted: int
    """Survivors that `accepted.toml` explains."""

    @property
    def survived(self) -> int:
        """What no test noticed, explained or not."""
        return self.mutants - self.killed - self.timed_out

    @property
    def ratio(self) -> float:
        """Killed or timed out, of all; explained survivors count as survivors."""
        return (self.mutants - self.survived) / self.mutants if self.mutants else 1.0

    def row(self, name: str) -> str:
        """A line of the table."""
        return (
            f"{name:24}{self.mutants:8}{self.killed:8}{self.timed_out:8}"
            f"{self.survived:10}{self.accepted:10}{self.ratio:9.1%}"
        )


HEAD = (
    f"{'':24}{'mutants':>8}{'killed':>8}{'timeout':>8}{'survived':>10}{'explained':>10}{'score':>9}"
)


class _Group(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    reason: str
    mutants: list[str]


def accepted() -> dict[str, str]:
    """Why survivors may survive, by their names."""
    groups = msgspec.convert(tomllib.loads(ACCEPTED.read_text())["group"], list[_Group])
    return {name: group.reason for group in groups for name in group.mutants}


def score(mutants: Sequence[Mutant], results: Results) -> Score:
    """Of those that have a verdict."""
    fates = [(one, results.fate_of(one)) for one in mutants]
    tried = [(one, fate) for one, fate in fates if fate not in {None, Fate.POSTPONED}]
    reasons = accepted()
    return Score(
        mutants=len(tried),
        killed=sum(fate is Fate.KILLED for _, fate in tried),
        timed_out=sum(fate is Fate.TIMED_OUT for _, fate in tried),
        accepted=sum(fate not in _DEAD and one.name in reasons for one, fate in tried),
    )


def report(mutants: Sequence[Mutant], results: Results, *, everything: bool) -> tuple[str, bool]:
    """The text, and whether every package has its score."""
    lines, enough = [HEAD], True
    for package, modules in PACKAGES.items():
        mine = [one for one in mutants if one.module in modules]
        if not mine:
            continue
        lines += [
            score([one for one in mine if one.module == module], results).row(module)
            for module in modules
            if any(one.module == module for one in mine)
        ]
        total = score(mine, results)
        lines += [total.row(f"= {package}"), ""]
        enough = enough and (package == "invariants" or total.ratio >= SCORE_MIN)
    return "\n".join([*lines, *_survivors(mutants, results, everything=everything)]), enough


def _survivors(mutants: Sequence[Mutant], results: Results, *, everything: bool) -> list[str]:
    reasons, lines = accepted(), []
    for one in sorted(mutants, key=lambda one: (MODULES.index(one.module), one.line)):
        fate = results.fate_of(one)
        if fate in {None, Fate.POSTPONED, *_DEAD}:
            continue
        reason = reasons.get(one.name, "")
        if everything or not reason:
            lines.append(f"{fate}: {one}" + (f"\n    accepted: {reason}" if reason else ""))
    return lines
