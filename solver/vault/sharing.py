"""Whether a key may serve a buyer: the provider's terms, then the contributor's word."""

from intents.reject import Reject, RejectCode, reject
from solver.vault.template import Sharing


def refuse_sharing(
    policy: Sharing, *, owner: str, buyer: str, attested: bool, same_organisation: bool = False
) -> Reject | None:
    """Why `owner`'s key must not serve `buyer`, or None.

    Using one's own key is not sharing. Under `own-org` it serves the owner's organisation;
    under `allowed` it serves everyone once the owner signed the attestation. `forbidden`
    and `unknown` are the same: what nobody checked is not allowed.
    """
    if buyer == owner or (policy is Sharing.OWN_ORG and same_organisation):
        return None
    if policy is not Sharing.ALLOWED:
        return reject(RejectCode.SHARING_FORBIDDEN)
    return None if attested else reject(RejectCode.ATTESTATION_MISSING)
