"""The one seed of a run: the same in all, another number, or a new one if it is to be `free`."""

import os
import secrets
from typing import Final

_NAME: Final = "KEYFILL_SEED"


def _chosen() -> int:
    if os.environ.get(_NAME) == "free":
        # Processes of this run find the number, and so have the same seed.
        os.environ[_NAME] = str(secrets.randbits(32))
    return int(os.environ.get(_NAME, "7041776"))


SEED: Final = _chosen()
