"""Whether a key may serve a buyer: the provider's terms, then the contributor's word."""

from intents.reject import Reject, RejectCode, reject
from solver.vault.template import Sharing


def refuse_sharing(policy: Sharing, *, owner: str, buyer: str, attested: bool) -> Reject | None:
    """Why `owner`'s key must not serve `buyer`, or None.

    Using one's own key is not sharing. Under `allowed` it serves everyone once the owner
    signed the attestation. `own-org`, `forbidden` and `unknown` are the same here: nobody
    tells this market who belongs together, and what nobody checked is not allowed.
    """
    if buyer == owner:
        return None
    if policy is not Sharing.ALLOWED:
        return reject(RejectCode.SHARING_FORBIDDEN)
    return None if attested else reject(RejectCode.ATTESTATION_MISSING)
