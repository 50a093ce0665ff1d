"""Which intents are legs of a bundle: filled together, or one of them instead of the others."""

from collections.abc import Iterable

import msgspec

from solver.core.quality import Floor


class Bundle(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What was signed beside the legs, which are intents of their own."""

    digest: str
    account: str
    any_of: bool
    legs: tuple[str, ...]
    floor: Floor


class Bundles:
    """Those of which a leg is remembered, oldest first."""

    __slots__ = ("_of", "by_digest")

    def __init__(self, bundles: Iterable[Bundle] = ()) -> None:
        self.by_digest: dict[str, Bundle] = {}
        self._of: dict[str, Bundle] = {}
        for bundle in bundles:
            self.add(bundle)

    def add(self, bundle: Bundle) -> None:
        """It is admitted with all its legs."""
        self.by_digest[bundle.digest] = bundle
        for leg in bundle.legs:
            self._of[leg] = bundle

    def of(self, intent: str) -> Bundle | None:
        """The bundle that the intent is a leg of."""
        return self._of.get(intent)

    def forget(self, intent: str) -> None:
        """An intent is forgotten, and its bundle with the last of its legs."""
        bundle = self._of.pop(intent, None)
        if bundle is not None and not any(leg in self._of for leg in bundle.legs):
            del self.by_digest[bundle.digest]
