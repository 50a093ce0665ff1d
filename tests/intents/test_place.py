"""The proof of a place is the tree's own, and what it says behind another one's adds up to it."""

import pytest

from intents.bulk import INTENTS_MAX, Tree, tree
from intents.place import Place


def a_tree(count: int) -> Tree:
    """Of so many different leaves."""
    return tree([number.to_bytes(32, "big") for number in range(count)])


@pytest.mark.parametrize("count", [*range(1, 36), 64, 65, 100, INTENTS_MAX - 1, INTENTS_MAX])
def test_a_place_has_the_proof_that_its_tree_gives(count: int) -> None:
    """Whatever the number of leaves, and wherever levels were filled up."""
    grown = a_tree(count)
    proofs = [Place(grown.nodes, count, index).proof() for index in range(count)]
    assert proofs == grown.proofs()[:count]


@pytest.mark.parametrize("count", [1, 2, 3, 7, 8, 21])
def test_a_proof_ends_as_others_of_its_tree_do(count: int) -> None:
    """How it begins and what it shares make it up; one sibling less would not be shared."""
    grown = a_tree(count)
    places = [Place(grown.nodes, count, index) for index in range(count)]
    for one in places:
        for other in places:
            own, shared = one.proof_after(other)
            assert own + other.proof()[len(other.proof()) - shared :] == one.proof()
            if one is not other:
                assert one.proof()[-shared - 64 :] != other.proof()[-shared - 64 :]
