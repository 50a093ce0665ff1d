"""What is mutated, what judges it, and what is no behaviour."""

from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
RESULTS: Final = ROOT / ".keyfill" / "mutants" / "results.jsonl"
ACCEPTED: Final = Path(__file__).with_name("accepted.toml")

SCORE_MIN: Final = 0.9
"""Of each package's mutants, at least this part has to be killed."""

_CORE: Final = (
    "auction",
    "award",
    "bond",
    "bonding",
    "book",
    "bringing",
    "bundle",
    "bundling",
    "cancel",
    "chain",
    "charge",
    "check",
    "conduct",
    "contest",
    "deadline",
    "delivery",
    "difference",
    "document",
    "exchange",
    "intake",
    "judge",
    "lease",
    "ledger",
    "market",
    "meter",
    "metered",
    "metering",
    "nonce",
    "pool",
    "quality",
    "rating",
    "record",
    "roster",
    "row",
    "session",
    "settling",
    "snapshot",
    "state",
    "trade",
    "trust",
    "weight",
    "window",
)
_INTENTS: Final = (
    "admission",
    "bound",
    "bulk",
    "bundle",
    "cap_word",
    "document",
    "form",
    "leaf",
    "place",
    "policy",
    "receipt",
    "reject",
    "rounding",
    "signature",
    "typed_data",
)
CHECKS: Final = "solver.core.invariant"
"""A test itself, by nature: what it no longer notices. Counted apart, in no score."""
PACKAGES: Final = {
    "intents": tuple(f"intents.{name}" for name in _INTENTS),
    "solver.core": tuple(f"solver.core.{name}" for name in _CORE),
    "invariants": (CHECKS,),
}
MODULES: Final = tuple(module for modules in PACKAGES.values() for module in modules)

TESTS: Final = ("tests/intents", "tests/core")
TESTS_LEFT_OUT: Final = (
    "planted",  # tests of tests: they change the source themselves
    "test_other_processes_reach_the_same_state",  # other processes have no mutant
    "test_compiled",  # nor has compiled code
)

MESSAGE_CALLS: Final = {"reject": 1, "check": 1, "violate": 0, "Violation": 0}
"""Of these calls only so many arguments count: the rest is text for people."""
MESSAGE_KEYWORDS_KEPT: Final = frozenset({"retry_after_ms"})
CLASS_KEYWORDS_LEFT_OUT: Final = frozenset({"frozen", "gc", "kw_only"})
"""How a class is kept in memory and written down, not what it does."""
NAMES_LEFT_OUT: Final = frozenset({"__slots__", "__all__", "HINTS"})


def path_of(module: str) -> Path:
    """The module's source."""
    return ROOT.joinpath(*module.split(".")).with_suffix(".py")


def package_of(module: str) -> str:
    """The part of the score that the module belongs to."""
    return next(name for name, modules in PACKAGES.items() if module in modules)


def folder_of(module: str) -> str:
    """Where the tests of the module's package are."""
    return f"tests/{module.split('.')[-2]}"
