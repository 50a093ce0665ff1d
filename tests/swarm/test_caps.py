"""The auditor's keys: whose word the chain may refuse, after which act of whose."""

from typing import Any, Final

import pytest

from intents.document import SpendReceipt
from intents.policy import Permission
from intents.receipt import in_order, lines_hash
from simulations.stream import stream
from simulations.swarm.caps import Keys
from simulations.swarm.chain import Chain
from simulations.swarm.contract import Ledger
from simulations.swarm.fault import Faults
from simulations.swarm.person import DEPLOYMENT, DOMAIN, DORA, KAI, SELLERS, Person
from simulations.swarm.registry import Registry
from solver.core.command import Authority
from tests.swarm.test_watcher import CALM

ACCOUNT: Final = DORA.account
KEY: Final = DORA.key.address
CAP: Final[dict[str, Any]] = {"team": 1, "cap": 40_000, "period": 240}
GRANT: Final = CAP | {
    "key": KEY,
    "permissions": Permission.SIGN | Permission.RECEIPT,
    "expires_at": 9_000,
}
TAKEN_BACK: Final[dict[str, tuple[Person, dict[str, Any]]]] = {
    "grant": (DORA, GRANT),
    "cap": (DORA, CAP),
    "revoke": (DORA, {"key": KEY}),
    "revoke_all": (DORA, {}),
    "own": (KAI, {"owner": KAI.key.address}),
}


def a_chain(registry: Registry) -> Chain:
    """A key may sign; nothing else has happened."""
    now_s = iter(range(1_000, 2_000))
    chain = Chain(Ledger(registry), Faults(CALM), stream(1, "chain"), lambda: next(now_s))
    chain.act("deposit", ACCOUNT, amount=10_000)
    chain.act("grant", ACCOUNT, **GRANT)
    chain.mine()
    return chain


def read(keys: Keys, chain: Chain) -> Keys:
    """All blocks."""
    for block in chain.blocks:
        keys.read(block)
    return keys


@pytest.mark.parametrize("name", TAKEN_BACK)
def test_only_a_word_that_was_taken_before_an_owners_act_may_be_refused(name: str) -> None:
    """Whoever takes a word and knows the block of the act relies on it; others' is not touched."""
    chain = a_chain(Registry(b"", DEPLOYMENT.usdc, {}))
    person, terms = TAKEN_BACK[name]
    chain.act(name, person.account, **terms)
    chain.mine()
    chain.mine()
    keys = read(Keys({}, {}), chain)
    assert not keys.are_as_known(person.account, 1)
    assert keys.are_as_known(person.account, 2)
    assert keys.are_as_known(SELLERS[0].account, 0)


@pytest.mark.parametrize("is_gift", [True, False])
def test_only_a_claim_that_the_market_cannot_know_of_uses_caps_up(*, is_gift: bool) -> None:
    """Who claims what the market was shown takes nothing that it did not count."""
    registry = Registry(DOMAIN.prefix(), DEPLOYMENT.usdc, {})
    chain, keys = a_chain(registry), Keys({}, {})
    lines = in_order({SELLERS[0].account: 700})
    receipt = SpendReceipt(account=ACCOUNT, epoch=0, base=0, spent=700, lines=lines_hash(lines))
    _, signature = DORA.sign(receipt)
    registry.note_receipt(receipt, signature, KEY)
    if is_gift:
        keys.give(receipt)
    chain.act(
        "claim",
        ACCOUNT,
        receipt=receipt,
        lines=lines,
        signature=signature,
        authority=int(Authority.SESSION),
    )
    chain.mine()
    assert read(keys, chain).are_as_known(ACCOUNT, 1) is not is_gift
    assert chain.head.ledger.claimed(ACCOUNT) == 700, "it is claimed"
