"""What `make gas` settles 100,000 of, smaller: sold, signed, settled, and counted twice."""

import pytest

from contracts.anvil import Anvil
from contracts.fault import ContractsFault
from contracts.gas import TRANSACTIONS_MAX
from contracts.volume_bench import HUNDRED_THOUSAND, Fill, Volume, VolumeBench

TWO_THOUSAND = Volume(buyers=20, sellers=10, batches=4, calls=25)


def test_a_hundred_thousand_are_what_they_are_called() -> None:
    """The volume of `make gas` has so many fills, in no more transactions than promised."""
    assert HUNDRED_THOUSAND.fills == 100_000
    assert HUNDRED_THOUSAND.batches <= TRANSACTIONS_MAX


async def test_every_fill_is_paid_and_proven(anvil: Anvil) -> None:
    """Each account has what 2,000 fills told one by one make of it, and leaves are proven.

    The canary: books that were told of one atom that nobody paid are not what the chain says.
    """
    anvil.rpc("evm_setAutomine", True)
    bench = await VolumeBench.open(anvil, TWO_THOUSAND)
    settled = await bench.settle(TWO_THOUSAND)
    assert settled.fills == TWO_THOUSAND.fills == 2_000
    assert settled.transactions == 4
    assert settled.proven >= 4 * 8
    assert sum(bench.books.spent.values()) == sum(bench.books.earned.values()) > 0
    buyer, seller = next(iter(bench.books.spent)), next(iter(bench.books.earned))
    bench.books.tell(Fill(number=2_000, buyer=buyer, seller=seller, payment=1))
    with pytest.raises(ContractsFault, match="the books"):
        await bench.audit()
