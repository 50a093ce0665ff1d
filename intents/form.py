"""What is wrong with the fields of a document, whoever signed it.

Compiled, and with the fields themselves: compiled code searches for a Struct's field each time
that it reads one, and what is asked of every intent is asked of its tuple.
"""

import re
from functools import lru_cache
from typing import Any, Final

from intents.bound import LIFETIME_SECONDS_MAX, RESOURCE_BYTES_MAX, TICK_MAX
from intents.reject import Reject, RejectCode, reject
from intents.rounding import bid_tick

RESOURCES_CACHED_MAX: Final = 4_096
"""Names whose form is remembered: all that a market lists, and as many that it does not."""
_SLUG: Final = "[a-z0-9][a-z0-9._-]*"
_RESOURCE: Final = re.compile(f"{_SLUG}/{_SLUG}:{_SLUG}")


def fault_in_intent(terms: tuple[Any, ...], assets: frozenset[str], now_s: int) -> Reject | None:
    """What is wrong with an intent of these fields, in the order of `intents.admission.admit`."""
    resource: str = terms[1]
    asset: str = terms[2]
    units: int = terms[3]
    units_min: int = terms[4]
    limit: int = terms[5]
    fault = fault_in_trade(resource, asset, units, limit, assets)
    if fault is not None:
        return fault
    if not 1 <= units_min <= units:
        return reject(RejectCode.MINIMUM_OUT_OF_RANGE, "unitsMin must be 1 to units")
    if not 1 <= bid_tick(limit, units) <= TICK_MAX:
        return reject(RejectCode.PRICE_OUT_OF_RANGE, "limit/units is below or above any price")
    return fault_in_validity(terms[6], terms[7], now_s)


def fault_in_trade(
    resource: str, asset: str, units: int, limit: int, assets: frozenset[str]
) -> Reject | None:
    """What intents and offers can both be refused for first."""
    if not is_resource_name(resource):
        return resource_invalid()
    if asset not in assets:
        return asset_unknown(assets)
    if units < 1:
        return reject(RejectCode.UNITS_OUT_OF_RANGE, "units must be at least 1")
    if limit < 1:
        return reject(RejectCode.LIMIT_OUT_OF_RANGE, "limit must be at least 1 atom")
    return None


def fault_in_validity(valid_from: int, valid_until: int, now_s: int) -> Reject | None:
    """Rejects: validity_empty, then `fault_in_expiry`'s."""
    if valid_from >= valid_until:
        return reject(RejectCode.VALIDITY_EMPTY, "validFrom must be before validUntil")
    return fault_in_expiry(valid_until, now_s)


def fault_in_expiry(until_s: int, now_s: int) -> Reject | None:
    """Rejects: expired, validity_too_long."""
    if until_s <= now_s:
        return reject(RejectCode.EXPIRED, f"ended at {until_s}; the market's time is {now_s}")
    if until_s > now_s + LIFETIME_SECONDS_MAX:
        return reject(
            RejectCode.VALIDITY_TOO_LONG,
            f"ends more than {LIFETIME_SECONDS_MAX} s from now",
        )
    return None


def resource_invalid() -> Reject:
    """The name is none."""
    return reject(RejectCode.RESOURCE_INVALID, "a resource is named provider/operation:unit")


def asset_unknown(assets: frozenset[str]) -> Reject:
    """The asset is none of the market's."""
    return reject(RejectCode.ASSET_UNKNOWN, f"this market trades {', '.join(sorted(assets))}")


def is_resource_name(name: str) -> bool:
    """Whether `name` is provider/operation:unit in lower-case ASCII, dots and dashes.

    Each part starts with a letter or digit, so that none is a path like "..".
    """
    return len(name) <= RESOURCE_BYTES_MAX and _is_named(name)


@lru_cache(RESOURCES_CACHED_MAX)
def _is_named(name: str) -> bool:
    return _RESOURCE.fullmatch(name) is not None
