"""The pool of keys: who joins it, who returns to it, and when one that left is forgotten."""

from typing import Final

from intents.reject import Reject, RejectCode, reject
from solver.core.command import PoolKey
from solver.core.event import KeyPooled
from solver.core.state import KeyState, State

KEYS_OF_ACCOUNT_MAX: Final = 1_000
"""Keys of one account that are in the pool."""
KEYS_RETIRED_KEPT_MAX: Final = 1_000
"""Keys that left the pool and can still be asked for; see `forget_keys`."""


def pool_key(state: State, command: PoolKey) -> Reject | None:
    """Add a key, or one that left: its windows go on where they were, whoever brings it (P4).

    Rejects: key_duplicate, key_not_live (calls of its last time are not over),
    resource_unknown, account_full.
    """
    fault = _fault_in_return(state.keys.get(command.key), command.key)
    if fault is not None:
        return fault
    for resource in command.resources:
        if resource not in state.resources:
            return reject(RejectCode.RESOURCE_UNKNOWN, resource)
    fault = _fault_in_pool(state, command.owner)
    if fault is not None:
        return fault
    used = _forget(state, command.key)
    state.keys[command.key] = KeyState(
        owner=command.owner, provider=command.provider, resources=command.resources
    )
    state.set_limits(command.key, command.resources, command.limits, used)
    state.emit(
        KeyPooled(
            key=command.key,
            owner=command.owner,
            provider=command.provider,
            resources=command.resources,
        )
    )
    return None


def forget_keys(state: State) -> None:
    """Of the keys that left the pool and serve nothing any more, keep the newest.

    And those whose windows still count what was used: they may come back.
    """
    gone = [name for name, key in state.keys.items() if not key.live and not key.leases]
    for name in gone[:-KEYS_RETIRED_KEPT_MAX]:
        if not _used(state, name):
            _forget(state, name)


def _forget(state: State, name: str) -> list[tuple[int, int]]:
    """Forget a key that serves nothing, if there is one; what its longest window counts."""
    used = _used(state, name)
    key = state.keys.pop(name, None)
    for resource in () if key is None else key.resources:
        state.windows.pop((name, resource), None)
    return used


def _used(state: State, name: str) -> list[tuple[int, int]]:
    """When calls through a key finished and what they used, as its longest window has it."""
    key = state.keys.get(name)
    entries = [
        window.image(state.now_ms)[3]
        for resource in (() if key is None else key.resources)
        for window in state.windows.get((name, resource), ())
    ]
    return max(entries, key=len, default=[])


def _fault_in_return(key: KeyState | None, name: str) -> Reject | None:
    """Whether a key of this id may be pooled: there is none, or it left and serves nothing."""
    if key is None:
        return None
    if key.live:
        return reject(RejectCode.KEY_DUPLICATE, name)
    if key.leases:
        return reject(
            RejectCode.KEY_NOT_LIVE,
            f"{name} left the pool, and calls that it serves are not over",
            hint="Contribute it again once they are, in some minutes at most.",
        )
    return None


def _fault_in_pool(state: State, owner: str) -> Reject | None:
    pooled = sum(key.live and key.owner == owner for key in state.keys.values())
    if pooled < KEYS_OF_ACCOUNT_MAX:
        return None
    return reject(RejectCode.ACCOUNT_FULL, f"{pooled} keys of the account are in the pool")
