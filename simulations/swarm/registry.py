"""What clients signed, by signature: how the contract's ecrecover knows a signer."""

from collections.abc import Sequence
from typing import Any, Final

from tiny_keccak import keccak256

from contracts.metered import compact
from intents.bundle import signed_digest
from intents.document import Award, Document, Intent, Offer, SpendReceipt
from intents.typed_data import digest
from simulations.swarm.calldata import Signed
from simulations.swarm.person import OWNER

_RESOURCE: Final = 1
"""Place of the hash of its name among an offer's terms, as the contract has them."""


class Registry:
    """Every document, bulk and receipt that somebody really signed."""

    def __init__(self, prefix: bytes, usdc: str, names: dict[str, str]) -> None:
        self._prefix = prefix
        self._usdc = usdc
        self._names = names
        self._documents: dict[str, tuple[Document, str]] = {}
        self._bulks: dict[str, tuple[bytes, str]] = {}

    def note(self, document: Document, signature: str, signer: str) -> None:
        """A client signs a document."""
        self._documents[signature] = (document, signer)

    def note_bulk(self, digest: bytes, signature: str, signer: str) -> None:
        """A client signs many intents at once."""
        self._bulks[signature] = (digest, signer)

    def note_receipt(self, receipt: SpendReceipt, signature: str, signer: str) -> None:
        """A client signs what it owes; the contract takes the short form, of a key's signature."""
        self._documents[signature] = self._documents[short(signature)] = (receipt, signer)

    def signer_of(self, signed: Signed) -> str:
        """Who signed exactly these fields; empty if nobody did."""
        fields = signed.fields | {"resource": self._names[signed.fields["resource"]]}
        if signed.height:
            return self._bulk_signer(signed, fields)
        document, signer = self._documents.get(signed.signature, (None, ""))
        same = all(getattr(document, name, None) == value for name, value in fields.items())
        return signer if same else ""

    def signer_of_digest(self, hashed: bytes, signature: str) -> str:
        """Who signed this digest, as an account's contract finds out; empty if nobody did."""
        document, signer = self._documents.get(signature, (None, ""))
        if document is not None:
            return signer if digest(self._prefix, document) == hashed else ""
        known, signer = self._bulks.get(signature, (b"", ""))
        return signer if known == hashed else ""

    def is_award(self, award: Award, signature: str) -> bool:
        """Whether the operator's owner signed exactly this award."""
        return signature == OWNER.sign(digest(self._prefix, award))

    def is_offer(self, terms: Sequence[Any], signature: str, signer: str) -> bool:
        """Whether the signer's own key signed exactly this offer, of its own account."""
        document, found = self._documents.get(signature, (None, ""))
        if not isinstance(document, Offer) or found != signer or document.account != signer:
            return False
        names = [name for name in Offer.__struct_fields__ if name not in ("resource", "asset")]
        told = [value for place, value in enumerate(terms) if place != _RESOURCE]
        told = ["0x" + value.hex() if isinstance(value, bytes) else value for value in told]
        resource = keccak256(document.resource.encode())
        return terms[_RESOURCE] == resource and told == [getattr(document, n) for n in names]

    def receipt_signer(self, receipt: SpendReceipt, signature: str) -> str:
        """Who signed exactly this receipt; empty if nobody did."""
        document, signer = self._documents.get(signature, (None, ""))
        return signer if document == receipt else ""

    def _bulk_signer(self, signed: Signed, fields: dict[str, Any]) -> str:
        """The signer of the tree that the proof leads to."""
        terms = fields | {"asset": self._usdc, "immediate": bool(fields["immediate"])}
        digest = signed_digest(self._prefix, Intent(**terms), signed.proof)
        known, signer = self._bulks.get(signed.signature, (b"", ""))
        return signer if digest == known else ""


def short(signature: str) -> str:
    """The 64 bytes of a signature, as batches and claims carry it."""
    return "0x" + compact(bytes.fromhex(signature[2:])).hex()
