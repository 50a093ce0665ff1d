"""Named random streams, so that changing one agent's policy leaves all other draws alone."""

import random
from hashlib import blake2b


def stream(seed: int, name: str) -> random.Random:
    """The stream called `name` of the run with this seed; the same on every machine."""
    digest = blake2b(f"{seed}:{name}".encode(), digest_size=16).digest()
    return random.Random(int.from_bytes(digest, "big"))  # noqa: S311  a model, not a secret
