"""Assertions that stay on in production.

A violated invariant means that memory no longer tells the truth. The process stops
(promise P8): it never guesses on.
"""

from typing import NoReturn


class Violation(Exception):
    """A broken invariant. Never caught below the process's entry point."""

    def __init__(self, name: str, **facts: object) -> None:
        super().__init__(f"{name} {facts}" if facts else name)
        self.name = name
        self.facts = facts


def violate(name: str, **facts: object) -> NoReturn:
    """Raise the Violation of this name; never put a secret in facts."""
    raise Violation(name, **facts)


def check(condition: bool, name: str, **facts: object) -> None:  # noqa: FBT001  like assert
    """Raise a Violation called `name` unless `condition`; never put a secret in facts.

    Where every order passes, `if not …: violate(…)` spares the call.
    """
    if not condition:
        raise Violation(name, **facts)
