"""A key serves others only if its provider's terms and its owner say so."""

import itertools

import pytest

from intents.reject import RejectCode
from solver.vault.sharing import refuse_sharing
from solver.vault.template import Sharing
from tests.vault.fixture import BUYER, OWNER


@pytest.mark.parametrize(("policy", "attested"), [*itertools.product(Sharing, [False, True])])
def test_who_may_use_whose_key(policy: Sharing, *, attested: bool) -> None:
    """The whole table; one's own key always, a stranger only where allowed and attested."""
    own = refuse_sharing(policy, owner=OWNER, buyer=OWNER, attested=attested)
    assert own is None
    refusal = refuse_sharing(policy, owner=OWNER, buyer=BUYER, attested=attested)
    expected = {
        Sharing.ALLOWED: None if attested else RejectCode.ATTESTATION_MISSING,
        Sharing.OWN_ORG: RejectCode.SHARING_FORBIDDEN,
        Sharing.FORBIDDEN: RejectCode.SHARING_FORBIDDEN,
        Sharing.UNKNOWN: RejectCode.SHARING_FORBIDDEN,
    }[policy]
    assert (refusal.code if refusal else None) == expected
