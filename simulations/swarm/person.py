"""Who takes part: the same people in every world, each with a wallet."""

from typing import Final

import msgspec
from tiny_keccak import keccak256

from contracts.deploy import Deployment
from intents.bulk import bulk_digest, tree
from intents.bundle import Bundle, bundle_digest
from intents.document import Document, Intent, Mandate, Offer
from intents.signature import SigningKey
from intents.typed_data import Domain, digest, struct_hash
from solver.core.command import Authority

CHAIN_ID: Final = 31_337


def _address(name: str) -> str:
    return "0x" + keccak256(f"address:{name}".encode())[12:].hex()


OWNER: Final = SigningKey(keccak256(b"swarm:operator owner"))
"""Of the operator's account; it signs awards, and takes penalties."""
DEPLOYMENT: Final = Deployment(
    chain_id=CHAIN_ID,
    deploy_block=0,
    usdc=_address("usdc"),
    settlement=_address("settlement"),
    implementation=_address("implementation"),
    factory=_address("factory"),
    operator_account=_address("operator"),
    operator_owner=OWNER.address,
    entry_point=_address("entry"),
    exit_delay_s=600,
    bonds=_address("bonds"),
)
DOMAIN: Final = Domain(chain_id=CHAIN_ID, verifying_contract=DEPLOYMENT.settlement)
_PREFIX: Final = DOMAIN.prefix()


class Person:
    """A key that signs for an account: its own, one in the registry, or its contract's owner."""

    def __init__(self, name: str, authority: Authority = Authority.KEY, account: str = "") -> None:
        self.name: Final = name
        self.key: Final = SigningKey(keccak256(f"swarm:{name}".encode()))
        self.authority: Final = authority
        owned = authority is Authority.KEY
        self.account: Final = self.key.address if owned else _address(account or name)

    @property
    def is_session(self) -> bool:
        """Whether the account lets this key act for it."""
        return self.authority is Authority.SESSION

    @property
    def signs_receipts(self) -> bool:
        """Whether it can sign for what it used; what others buy is settled fill by fill."""
        return not self.is_session or self is DORA

    def sign(self, document: Document) -> tuple[str, str]:
        """Digest and signature."""
        hashed = digest(_PREFIX, document)
        return "0x" + hashed.hex(), self.key.sign(hashed)


DORA: Final = Person("dora", Authority.SESSION)
DIDO: Final = Person("dido", Authority.SESSION, account="dora")
"""Another key of the same account, in the same team. It may sign no receipts."""
KAI: Final = Person("kai", Authority.CONTRACT)
HEIR: Final = Person("kai's heir", Authority.CONTRACT, account="kai")
"""Who owns the same account where its owner has changed."""
BUYERS: Final = (Person("ada"), Person("ben"), Person("cleo"), DORA, DIDO, KAI)
EVERYWHERE: Final = BUYERS[:4]
TWO_KEYS: Final = (DORA, DIDO)
BY_ANOTHERS_KEY: Final = (TWO_KEYS, (*TWO_KEYS, KAI), (*TWO_KEYS, BUYERS[2]), BUYERS[2:])
"""Who buys where something happens to those who sign for others."""
SELLERS: Final = (
    Person("eli"),
    Person("fay"),
    Person("gus"),
    Person("hana", Authority.SESSION),
)
PEOPLE: Final = (*BUYERS, *SELLERS)
OPERATOR: Final = SigningKey(keccak256(b"swarm:operator session"))
LIBRARIAN: Final = SigningKey(keccak256(b"swarm:librarian"))
"""The operator's key that creates address books, and does nothing else."""


class Paperwork(msgspec.Struct, frozen=True, kw_only=True):
    """A signed document, as a client keeps it."""

    document: Intent | Offer | Mandate
    digest: str
    signature: str
    body: bytes

    @property
    def kind(self) -> type[Intent] | type[Offer] | type[Mandate]:
        """What it is."""
        return type(self.document)


def paperwork(person: Person, document: Intent | Offer | Mandate) -> Paperwork:
    """Sign a document and put it into the form in which it is sent."""
    hashed, signature = person.sign(document)
    return Paperwork(
        document=document,
        digest=hashed,
        signature=signature,
        body=msgspec.json.encode({"document": document, "signature": signature}),
    )


def bundled(person: Person, bundle: Bundle) -> "Bulk":
    """Sign what is bought together, or instead of each other."""
    grown = tree([struct_hash(leg) for leg in bundle.legs])
    hashed = bundle_digest(_PREFIX, bundle.terms, grown.height, grown.root)
    signature = person.key.sign(hashed)
    papers = tuple(
        Paperwork(document=leg, digest=identity(leg), signature=signature, body=b"")
        for leg in bundle.legs
    )
    body = msgspec.json.encode({**msgspec.to_builtins(bundle), "signature": signature})
    return Bulk(papers=papers, digest=hashed, signature=signature, body=body)


class Bulk(msgspec.Struct, frozen=True, kw_only=True):
    """Intents with one signature, as a client keeps them."""

    papers: tuple[Paperwork, ...]
    digest: bytes
    signature: str
    body: bytes


def bulk(person: Person, intents: tuple[Intent, ...]) -> Bulk:
    """Sign many intents at once."""
    grown = tree([struct_hash(intent) for intent in intents])
    hashed = bulk_digest(_PREFIX, grown.height, grown.root)
    signature = person.key.sign(hashed)
    papers = tuple(
        Paperwork(document=intent, digest=identity(intent), signature=signature, body=b"")
        for intent in intents
    )
    body = msgspec.json.encode({"intents": intents, "signature": signature})
    return Bulk(papers=papers, digest=hashed, signature=signature, body=body)


def identity(document: Intent | Offer | Mandate) -> str:
    """Its digest, which names it whether or not it is signed alone."""
    return "0x" + digest(_PREFIX, document).hex()
