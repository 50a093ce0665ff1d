"""Intents that were verified, as rows: what travels between the processes.

Compiled: this is done with every intent, beside keccak and the recovery itself.
"""

from collections.abc import Sequence
from typing import Any, Final

from msgspec.structs import astuple
from tiny_keccak import keccak256

from intents.document import Intent
from intents.form import fault_in_intent
from intents.reject import Reject
from intents.typed_data import name_words, packer_after_names

Row = tuple[Any, ...]
"""A Verified: the document's fields, digest, signer, signature, proof. Or a Reject's four.

An intent's account, resource, asset and signer are places among the verdict's names; its
signature is empty where the verdict has it. Of a proof there is the place of its leaf, where
the verdict has the tree's nodes.
"""

# Bound once: compiled code looks what is another module's up each time.
_keccak: Final = keccak256
_intent: Final = Intent
_name_words: Final = name_words
_pack: Final = packer_after_names(Intent)


class IntentRows:
    """Rows of one body's intents, in order. Each intent comes as the tuple of its fields."""

    def __init__(self, prefix: bytes, assets: frozenset[str], now_s: int) -> None:
        self.rows: list[Row] = []
        self._prefix = prefix
        self._assets = assets
        self._now_s = now_s
        self._places: dict[str, int] = {}
        self._account = ""
        self._resource = ""
        self._asset = ""
        self._words = b""
        """What these three are in the hash: an intent mostly has those of the one before."""

    def names(self) -> list[str]:
        """All that the rows have places of."""
        return list(self._places)

    def refuse(self, refused: Reject) -> None:
        """The next intent is refused."""
        self.rows.append(astuple(refused))

    def fault(self, terms: Row) -> Reject | None:
        """What is wrong with an intent, whoever signed it."""
        return fault_in_intent(terms, self._assets, self._now_s)

    def leaves(self, each: Sequence[Row]) -> list[bytes]:
        """The leaf of each."""
        return [self.leaf(terms) for terms in each]

    def leaf(self, terms: Row) -> bytes:
        """hashStruct(intent) of EIP-712."""
        account, resource, asset = terms[0], terms[1], terms[2]
        if account != self._account or resource != self._resource or asset != self._asset:
            self._words = _name_words(_intent, account, resource, asset)
            self._account, self._resource, self._asset = account, resource, asset
        hashed: bytes = _keccak(self._words + _pack(*terms[3:]))
        return hashed

    def digest(self, leaf: bytes) -> bytes:
        """What is signed of an intent that comes alone, and names any."""
        hashed: bytes = _keccak(self._prefix + leaf)
        return hashed

    def add_bulk(self, each: Sequence[Row], leaves: Sequence[bytes], signer: str | None) -> None:
        """The next intents were signed together; what is wrong with one is that one's."""
        for place, terms in enumerate(each):
            fault = self.fault(terms)
            if fault is None:
                self.add(terms, self.digest(leaves[place]), signer, "", place)
            else:
                self.refuse(fault)

    def add_bare(self, terms: Row) -> None:
        """The next intent is not signed, but in its sender's name."""
        fault = self.fault(terms)
        if fault is None:
            self.add(terms, self.digest(self.leaf(terms)), None, "", None)
        else:
            self.refuse(fault)

    def add(
        self, terms: Row, digest: bytes, signer: str | None, signature: str, place: int | None
    ) -> None:
        """The next intent is verified."""
        (
            account,
            resource,
            asset,
            units,
            units_min,
            limit,
            valid_from,
            valid_until,
            immediate,
            epoch,
            nonce,
        ) = terms
        places = self._places
        self.rows.append(
            (
                places.setdefault(account, len(places)),
                places.setdefault(resource, len(places)),
                places.setdefault(asset, len(places)),
                units,
                units_min,
                limit,
                valid_from,
                valid_until,
                immediate,
                epoch,
                nonce,
                "0x" + digest.hex(),
                None if signer is None else places.setdefault(signer, len(places)),
                signature,
                place,
            )
        )
