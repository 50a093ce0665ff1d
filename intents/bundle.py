"""Bundles: intents that are bought together, or of which one is bought, under one signature.

The legs are ordinary intents in the tree of a bulk (`intents.bulk`), and the primary type of
height h is `Bundle(bool any,uint16 successMin,uint32 latencyMax,Intent[2]…[2] legs)`: so what
binds the legs is signed with them, and any wallet shows it. A leg's proof is that of a bulk with
the terms before it, in 7 bytes; what remains of its length by 32 tells the one from the other.

With `any` false all legs are filled in one auction, each in full, or none; with `any` true one
of them is, and the others end. One leg alone is an intent that asks for a quality, all or none
of it or, with `any`, as much as its minimum allows.

`success_min` is how many of a thousand calls of a key succeed at least, `latency_max` the most
milliseconds that half of its calls take; 0 asks for nothing.
"""

from struct import Struct
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta
from tiny_keccak import keccak256

from intents.admission import (
    DeclaredDomain,
    Rules,
    Signed,
    Verified,
    check_domain,
    check_intent,
    recover_signer,
)
from intents.bound import LATENCY_MS_MAX, LEGS_MAX, LEGS_MIN, SUCCESS_MAX
from intents.bulk import (
    INDEX_BYTES,
    height_of,
    nested,
    proof_bytes,
    proven_digest,
    proven_root,
    tree,
    tree_type,
)
from intents.document import Flag, Intent
from intents.place import NODE_BYTES
from intents.reject import Reject, RejectCode, reject
from intents.signature import SigningKey
from intents.typed_data import TYPE_STRINGS, Domain, digest, schema, struct_hash

NAME: Final = "Bundle"
HEIGHT_MAX: Final = height_of(LEGS_MAX)
TERM_FIELDS: Final = (("any", "bool"), ("successMin", "uint16"), ("latencyMax", "uint32"))
_PACKED: Final = Struct(">?HI")
"""The terms as a proof carries them."""
TERM_BYTES: Final = _PACKED.size
_WORDS: Final = Struct(">31x?24xQ24xQ")
"""The same as EIP-712 hashes them."""

Success = Annotated[int, Meta(ge=0, le=SUCCESS_MAX)]
Latency = Annotated[int, Meta(ge=0, le=LATENCY_MS_MAX)]


def _type_string(height: int) -> str:
    terms = ",".join(f"{kind} {name}" for name, kind in TERM_FIELDS)
    return f"{NAME}({terms},{tree_type(height)} legs){TYPE_STRINGS[Intent]}"


BUNDLE_TYPE_STRINGS: Final = {height: _type_string(height) for height in range(1, HEIGHT_MAX + 1)}
BUNDLE_TYPE_HASHES: Final = {
    height: keccak256(text.encode()) for height, text in BUNDLE_TYPE_STRINGS.items()
}


class Terms(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """What binds the legs of a bundle: see the module."""

    any: Flag
    success_min: Success = 0
    latency_max: Latency = 0

    def packed(self) -> bytes:
        """What a proof begins with."""
        return _PACKED.pack(self.any, self.success_min, self.latency_max)


class Bundle(Terms, frozen=True, kw_only=True):
    """What is signed: terms, and 1 to 16 legs in this order."""

    legs: tuple[Intent, ...]

    @property
    def terms(self) -> Terms:
        """The terms alone."""
        return Terms(any=self.any, success_min=self.success_min, latency_max=self.latency_max)


class UnverifiedBundle(Bundle, frozen=True, kw_only=True):
    """A bundle with its signature, as it came from outside."""

    signature: str
    domain: DeclaredDomain | None = None


class VerifiedBundle(msgspec.Struct, frozen=True, kw_only=True):
    """A bundle that passed admission. Its digest names it; each leg keeps its own."""

    digest: str
    terms: Terms
    legs: tuple[Verified[Intent], ...]


def bundle_digest(prefix: bytes, terms: Terms, height: int, root: bytes) -> bytes:
    """The 32 bytes that are signed for a bundle; `prefix` is `Domain.prefix()`."""
    words = _WORDS.pack(terms.any, terms.success_min, terms.latency_max)
    return keccak256(prefix + keccak256(BUNDLE_TYPE_HASHES[height] + words + root))


def signed_digest(prefix: bytes, intent: Intent, proof: str) -> bytes | Reject:
    """What was signed for an intent with this proof: itself, a bulk, or a bundle.

    Rejects: malformed.
    """
    if not proof:
        return digest(prefix, intent)
    raw = proof_bytes(proof)
    if isinstance(raw, Reject):
        return raw
    leaf = struct_hash(intent)
    if not is_bundle_proof(raw):
        return proven_digest(prefix, leaf, proof)
    terms = terms_of(raw)
    proven = proven_root(leaf, raw[TERM_BYTES:], HEIGHT_MAX)
    if isinstance(terms, Reject):
        return terms
    return proven if isinstance(proven, Reject) else bundle_digest(prefix, terms, *proven)


def is_bundle_proof(raw: bytes) -> bool:
    """Whether a proof has the length of one with terms."""
    return len(raw) % NODE_BYTES == TERM_BYTES + INDEX_BYTES


def terms_of(raw: bytes) -> Terms | Reject:
    """The terms that the proof of a leg begins with. Rejects: malformed."""
    if raw[0] > 1:
        return reject(RejectCode.MALFORMED, "the proof of a leg begins with 0 or 1")
    any_, success_min, latency_max = _PACKED.unpack_from(raw)
    return Terms(any=any_, success_min=success_min, latency_max=latency_max)


def sign_bundle(key: SigningKey, domain: Domain, bundle: Bundle) -> str:
    """One signature for all legs, in this order, and their terms."""
    grown = tree([struct_hash(leg) for leg in bundle.legs])
    return key.sign(bundle_digest(domain.prefix(), bundle, grown.height, grown.root))


def bundle_typed_data(domain: Domain, bundle: Bundle) -> dict[str, Any]:
    """The JSON that any wallet signs for a bundle (`eth_signTypedData_v4`)."""
    message = {**msgspec.to_builtins(bundle.terms), "legs": nested(bundle.legs)}
    return {**bundle_schema(domain, height_of(len(bundle.legs))), "message": message}


def bundle_schema(domain: Domain, height: int) -> dict[str, Any]:
    """`bundle_typed_data` without a message: domain, types and primary type."""
    single = schema(domain, Intent)
    fields = [{"name": name, "type": kind} for name, kind in TERM_FIELDS]
    fields.append({"name": "legs", "type": tree_type(height)})
    types = {**single["types"], NAME: fields}
    return {**single, "types": types, "primaryType": NAME}


def admit_bundle(bundle: UnverifiedBundle, rules: Rules, now_s: int) -> VerifiedBundle | Reject:
    """Verify a bundle at Unix second `now_s`, as a whole.

    Precedence of codes: wrong_domain, too_large, quality_out_of_range, bundle_mixed, those of the
    first leg that has a fault in its fields (see `admit`, with minimum_out_of_range also where
    all are bought and a leg does not ask for all its units), signature_malformed,
    signature_high_s, signature_invalid.
    """
    fault = check_bundle(bundle, rules, now_s)
    if fault is not None:
        return fault
    leaves = [struct_hash(leg) for leg in bundle.legs]
    grown = tree(leaves)
    prefix = rules.domain.prefix()
    hashed = bundle_digest(prefix, bundle, grown.height, grown.root)
    signed = recover_signer(hashed, bundle.signature)
    if isinstance(signed, Reject):
        return signed
    head = "0x" + bundle.packed().hex()
    proofs = [head + proof.removeprefix("0x") for proof in grown.proofs()]
    digests = ["0x" + keccak256(prefix + leaf).hex() for leaf in leaves]
    return VerifiedBundle(
        digest="0x" + hashed.hex(),
        terms=bundle.terms,
        legs=tuple(
            _leg(leg, signed, *proven)
            for leg, *proven in zip(bundle.legs, digests, proofs, strict=False)
        ),
    )


def check_bundle(bundle: UnverifiedBundle, rules: Rules, now_s: int) -> Reject | None:
    """What is wrong with a bundle whoever signed it, in the order of `admit_bundle`."""
    fault = check_domain(bundle.domain, rules.domain)
    fault = fault or _check_terms(bundle) or _check_mixed(bundle)
    if fault is not None:
        return fault
    for place, leg in enumerate(bundle.legs):
        fault = check_intent(leg, rules, now_s) or _check_minimum(bundle, leg)
        if fault is not None:
            message = f"leg {place}: {fault.message}"
            return msgspec.structs.replace(fault, message=message)
    return None


def _leg(intent: Intent, signed: Signed, hashed: str, proof: str) -> Verified[Intent]:
    return Verified(
        document=intent,
        digest=hashed,
        signer=signed.signer,
        signature=signed.signature,
        proof=proof,
    )


def _check_terms(bundle: Bundle) -> Reject | None:
    if not LEGS_MIN <= len(bundle.legs) <= LEGS_MAX:
        return reject(
            RejectCode.TOO_LARGE,
            f"{len(bundle.legs)} legs; a bundle has {LEGS_MIN} to {LEGS_MAX}",
            hint="Sign several bundles.",
        )
    if not 0 <= bundle.success_min <= SUCCESS_MAX or not 0 <= bundle.latency_max <= LATENCY_MS_MAX:
        return reject(
            RejectCode.QUALITY_OUT_OF_RANGE,
            f"successMin is 0 to {SUCCESS_MAX}, latencyMax 0 to {LATENCY_MS_MAX}",
        )
    return None


def _check_mixed(bundle: Bundle) -> Reject | None:
    """Legs enter, wait and end together, and each has a nonce."""
    shared = {
        (leg.account, leg.asset, leg.epoch, leg.valid_from, leg.valid_until, leg.immediate)
        for leg in bundle.legs
    }
    if len(shared) > 1:
        return reject(
            RejectCode.BUNDLE_MIXED,
            "legs share account, asset, epoch, validFrom, validUntil and immediate",
        )
    if len({leg.nonce for leg in bundle.legs}) < len(bundle.legs):
        return reject(RejectCode.BUNDLE_MIXED, "each leg has a nonce of its own")
    return None


def _check_minimum(bundle: Bundle, leg: Intent) -> Reject | None:
    if bundle.any or leg.units_min == leg.units:
        return None
    return reject(RejectCode.MINIMUM_OUT_OF_RANGE, "where all are bought, unitsMin is units")
