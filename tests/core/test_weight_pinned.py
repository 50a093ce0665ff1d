"""What lines weigh, number by number: a transaction that is too heavy settles nothing."""

import msgspec
import pytest

from intents.award import AwardedFill
from intents.receipt import ReceiptLine
from solver.core.award import AwardState
from solver.core.command import Authority, SubmitIntent, SubmitOffer
from solver.core.meter import Record, SignedReceipt
from solver.core.weight import (
    AUTHORITY_GAS,
    BYTES_FIXED,
    GAS_FIXED,
    LINES_MAX,
    RECORD_BYTES_FIXED,
    RECORD_GAS_FIXED,
    Load,
    RecordLoad,
    signed_digest,
)
from tests.builder import (
    TOKENS,
    Bench,
    Person,
    a_bench,
    a_mandate,
    alice,
    an_intent,
    an_offer,
    bob,
    carol,
    dave,
    key_of,
)

NO_LIMIT = 10**12
PLAIN_BYTES = 62 + (77 + 65 + 32) + (112 + 65)
PLAIN_GAS = 6_000 + (34_000 + 4_000) + (48_000 + 4_000)


def _weight(bench: Bench, *bids: SubmitIntent) -> tuple[int, int]:
    """Bytes and gas of these intents' lines beyond what every batch has."""
    load = Load(NO_LIMIT, NO_LIMIT)
    for bid in bids:
        assert load.takes(bench.market.state, bench.leases(bid))
    return load.bytes - BYTES_FIXED, load.gas - GAS_FIXED


def _trade(bench: Bench, ask: SubmitOffer, bid: SubmitIntent) -> SubmitIntent:
    bench.do(ask)
    bench.do(bid)
    return bid


def _gas(plain: int, size: int) -> int:
    return plain + 16 * size


def test_what_every_batch_has() -> None:
    """The calls around it, and the gas that no line is to blame for."""
    load = Load(NO_LIMIT, NO_LIMIT)
    assert (load.bytes, load.gas) == (512, 600_000)


def test_a_plain_line() -> None:
    """An intent, an offer, a resource and the line itself, each signed by a key."""
    bench = a_bench()
    bid = _trade(bench, an_offer().signed_by(bob), an_intent().signed_by(alice))
    assert _weight(bench, bid) == (PLAIN_BYTES, _gas(PLAIN_GAS, PLAIN_BYTES))


def test_what_stands_in_the_batch_is_not_listed_again() -> None:
    """A second line of both documents costs a line; a second intent no resource and no offer."""
    bench = a_bench()
    ask = an_offer().units(9).limit(9).signed_by(bob)
    first = _trade(bench, ask, an_intent().units(2).limit(200).signed_by(alice))
    second = an_intent().signed_by(alice)
    bench.do(second)
    size = PLAIN_BYTES + 62 + 77 + 65
    assert _weight(bench, first, second) == (size, _gas(PLAIN_GAS + 6_000 + 38_000, size))
    other = _trade(
        bench, an_offer().signed_by(carol), an_intent().units(8).limit(800).signed_by(dave)
    )
    lines = len(bench.leases(other))
    assert lines == 2
    size = PLAIN_BYTES + 62 + 112 + 65
    assert _weight(bench, other) == (size, _gas(PLAIN_GAS + 6_000 + 52_000, size))


def test_another_resource_is_listed_too() -> None:
    """Its hash, once."""
    bench = a_bench().listing(TOKENS).pooling(bob, number=1, resources=(TOKENS,))
    first = _trade(bench, an_offer().signed_by(bob), an_intent().signed_by(alice))
    ask = an_offer().of(TOKENS).from_key(key_of(bob, 1)).signed_by(bob)
    second = _trade(bench, ask, an_intent().of(TOKENS).signed_by(alice))
    size = 2 * PLAIN_BYTES
    assert _weight(bench, first, second) == (size, _gas(2 * PLAIN_GAS, size))


@pytest.mark.parametrize(
    ("authority", "gas"),
    [(Authority.KEY, 4_000), (Authority.SESSION, 30_000), (Authority.CONTRACT, 210_000)],
)
def test_authorities_cost_what_the_contract_gives_them(authority: Authority, gas: int) -> None:
    """On either side of a line."""
    assert AUTHORITY_GAS[authority] == gas
    bench = a_bench().granting(dave, alice).granting(dave, bob)
    signer = {Authority.SESSION: (dave, dave)}.get(authority, (alice, bob))
    bid = _trade(
        bench,
        an_offer().for_account(bob).from_key(key_of(bob)).signed_by(signer[1], authority),
        an_intent().for_account(alice).signed_by(signer[0], authority),
    )
    plain = PLAIN_GAS - 2 * 4_000 + 2 * gas
    assert _weight(bench, bid) == (PLAIN_BYTES, _gas(plain, PLAIN_BYTES))


@pytest.mark.parametrize("words", [0, 1, 10])
def test_a_proof_is_weighed_by_its_bytes(words: int) -> None:
    """An index and a hash for each level: bytes of the call, and gas to hash them."""
    bench = a_bench()
    size = 2 + 32 * words if words else 0
    proof = "0x" + "00" * size if words else ""
    bid = msgspec.structs.replace(an_intent().signed_by(alice), proof=proof)
    _trade(bench, an_offer().signed_by(bob), bid)
    gas = PLAIN_GAS + (1_500 + 6 * size if words else 0)
    assert _weight(bench, bid) == (PLAIN_BYTES + size, _gas(gas, PLAIN_BYTES + size))


def test_intents_under_a_mandate_weigh_as_one() -> None:
    """The mandate is listed with its own resource, and signed for once."""
    bench = a_bench()
    leave = a_mandate().signed_by(alice)
    bench.do(leave)
    bench.do(an_offer().units(2).signed_by(bob))
    bids = [an_intent().under(leave, alice) for _ in range(2)]
    for bid in bids:
        bench.do(bid)
        assert signed_digest(bench.market.state, bid.digest) == leave.digest
    size = PLAIN_BYTES + 62
    assert _weight(bench, *bids) == (size, _gas(PLAIN_GAS + 6_000, size))


def test_a_mandate_for_any_resource_lists_the_empty_name() -> None:
    """And the offer lists the one that was bought."""
    bench = a_bench()
    leave = a_mandate().of("").signed_by(alice)
    bench.do(leave)
    bid = _trade(bench, an_offer().signed_by(bob), an_intent().under(leave, alice))
    size = PLAIN_BYTES + 32
    assert _weight(bench, bid) == (size, _gas(PLAIN_GAS, size))


@pytest.mark.parametrize(("lines", "listings"), [(255, 1), (256, 2), (510, 2), (511, 3)])
def test_an_entry_counts_its_lines_in_a_byte(lines: int, listings: int) -> None:
    """Beyond 255 it is listed again; its resource and its sellers are not."""
    assert LINES_MAX == 255
    bench = a_bench()
    bid = _trade(bench, an_offer().signed_by(bob), an_intent().signed_by(alice))
    load = Load(NO_LIMIT, NO_LIMIT)
    assert load.takes(bench.market.state, [bench.lease(bid)] * lines)
    size = 62 * lines + (77 + 65) * listings + 32 + 112 + 65
    gas = 6_000 * lines + 38_000 * listings + 52_000
    assert (load.bytes - BYTES_FIXED, load.gas - GAS_FIXED) == (size, _gas(gas, size))


@pytest.mark.parametrize(("spare", "taken"), [(0, True), (-1, False)])
def test_a_batch_is_full_to_the_byte_and_to_the_gas(spare: int, *, taken: bool) -> None:
    """What just fits is taken; what does not leaves no trace in the load."""
    bench = a_bench()
    bid = _trade(bench, an_offer().signed_by(bob), an_intent().signed_by(alice))
    size, gas = _weight(bench, bid)
    for load in (
        Load(BYTES_FIXED + size + spare, NO_LIMIT),
        Load(NO_LIMIT, GAS_FIXED + gas + spare),
    ):
        assert load.takes(bench.market.state, bench.leases(bid)) is taken
        assert load.bytes == BYTES_FIXED + size * taken
        assert load.gas == GAS_FIXED + gas * taken
        load._bytes_max = load._gas_max = NO_LIMIT
        assert load.takes(bench.market.state, bench.leases(bid))
        again = 62 if taken else size
        assert load.bytes == BYTES_FIXED + size * taken + again


@pytest.mark.parametrize(("fills", "nodes"), [(1, 0), (2, 1), (3, 2), (4, 2), (5, 3)])
def test_a_charged_line_is_proven_and_its_award_listed_once(fills: int, nodes: int) -> None:
    """A hash for each level of the award's tree; the operator's signature of it, and its solver."""
    bench = a_bench()
    bid = _trade(bench, an_offer().signed_by(bob), an_intent().signed_by(alice))
    lease = bench.lease(bid)
    fill = AwardedFill(
        buyer=alice.address,
        buyer_nonce=0,
        seller=bob.address,
        seller_nonce=0,
        units=1,
        tick=1,
        charge=1,
    )
    award = AwardState(
        auction=1, solver=carol.address, deadline_block=9, fills=[fill for _ in range(fills)]
    )
    bench.market.state.awards[award.id] = award
    lease.charge, lease.award = 1, award.id
    size, gas = PLAIN_BYTES + 138 + 29 + 32 * nodes, PLAIN_GAS + 60_000 + 9_000 + 200 * nodes
    assert _weight(bench, bid) == (size, _gas(gas, size))
    size, gas = size + 62 + 29 + 32 * nodes, gas + 6_000 + 9_000 + 200 * nodes
    assert _weight(bench, bid, bid) == (size, _gas(gas, size))


def _record(*sellers: Person, authority: Authority | None = None) -> Record:
    """A buyer's, with a line for each; signed for, if there is an authority."""
    lines = tuple(ReceiptLine(seller=seller.address, amount=1) for seller in sellers)
    receipt = None
    if authority is not None:
        receipt = SignedReceipt(
            epoch=0,
            base=0,
            spent=len(lines),
            lines=lines,
            fills=1,
            signer=alice.address,
            authority=authority,
            signature="0x" + "ab" * 65,
        )
    return Record(
        batch=0, account=alice.address, amount=len(lines), lines=lines, fills=1, receipt=receipt
    )


def test_what_every_batch_of_records_has() -> None:
    """The calls around it, as many address books as it may name, and its root's place."""
    load = RecordLoad(NO_LIMIT, NO_LIMIT)
    assert (load.bytes, load.gas) == (6_000, 2_000_000)


def test_a_record_weighs_its_lines_its_new_sellers_and_its_signature() -> None:
    """What is attested carries none; a seller that is named before is known."""
    load = RecordLoad(NO_LIMIT, NO_LIMIT)
    size = gas = 0
    for record, plain, paid in (
        (_record(bob, carol), 6 + 2 * (10 + 2), 9_000 + 2 * (600 + 24_500)),
        (
            _record(bob, dave, authority=Authority.SESSION),
            6 + 65 + 2 * 10 + 2,
            9_000 + 30_000 + 2 * 600 + 24_500,
        ),
        (_record(carol, dave), 6 + 2 * 10, 9_000 + 2 * 600),
    ):
        assert load.takes(record)
        size, gas = size + plain, gas + _gas(paid, plain)
        assert (load.bytes - RECORD_BYTES_FIXED, load.gas - RECORD_GAS_FIXED) == (size, gas)


@pytest.mark.parametrize(("spare", "taken"), [(0, True), (-1, False)])
def test_a_batch_of_records_is_full_to_the_byte_and_to_the_gas(spare: int, *, taken: bool) -> None:
    """What just fits is taken; what does not leaves no trace, its sellers are new again."""
    record, size = _record(bob), 6 + 10 + 2
    gas = _gas(9_000 + 600 + 24_500, size)
    for load in (
        RecordLoad(RECORD_BYTES_FIXED + size + spare, NO_LIMIT),
        RecordLoad(NO_LIMIT, RECORD_GAS_FIXED + gas + spare),
    ):
        assert load.takes(record) is taken
        assert load.bytes == RECORD_BYTES_FIXED + size * taken
        assert load.gas == RECORD_GAS_FIXED + gas * taken
        load._bytes_max = load._gas_max = NO_LIMIT
        assert load.takes(record)
        again = 6 + 10 if taken else size
        assert load.bytes == RECORD_BYTES_FIXED + size * taken + again
