"""Declared maxima of every integer that is signed.

Each maximum fits its Solidity type *and* a JSON number (2**53 - 1), so that no
wallet, browser or JSON library rounds what a user signs.
"""

from typing import Final

ADDRESS_ZERO: Final = "0x" + "00" * 20
HASH_ZERO: Final = "0x" + "00" * 32

UNITS_MAX: Final = 10**12
"""Most units of one document."""
AMOUNT_MAX: Final = 2**53 - 1
"""Most atoms of one document: about nine billion USDC."""
NONCE_MAX: Final = 2**53 - 1
EPOCH_MAX: Final = 2**32 - 1
SESSION_EPOCH_MAX: Final = 2**24 - 1
"""Last epoch of an account's session keys; the contract refuses to go on from there."""
TIME_S_MAX: Final = 2**40 - 1
WINDOW_SECONDS_MAX: Final = 366 * 86_400

TICK_UNITS: Final = 10**6
"""A price tick is atoms per this many units."""
TICK_MAX: Final = 2**53 - 1
"""Highest price: about 9,007 USDC a unit."""

TEAM_MAX: Final = 2**11 - 1
"""Teams of one account, from 1."""
PERMISSIONS_MAX: Final = 2**6 - 1
PERIOD_S_MAX: Final = 240 * (2**15 - 1)
"""Longest period of a rolling cap: 91 days."""

LEGS_MIN: Final = 1
LEGS_MAX: Final = 16
"""Legs of one bundle."""
SUCCESS_MAX: Final = 1_000
"""All of a thousand calls."""
LATENCY_MS_MAX: Final = 600_000
"""The longest that a bundle can ask a key's calls to take: no call takes longer."""

RESOURCE_BYTES_MAX: Final = 128
SIGNATURE_BYTES_MAX: Final = 2_048
"""Room for an EIP-1271 signature of a multisig."""
LIFETIME_SECONDS_MAX: Final = 366 * 86_400
"""Longest time from now until a document expires."""
