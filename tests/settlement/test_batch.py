"""Bulks, bundles and mandates from a signature to payment, on a real Anvil; what batches weigh."""

from collections.abc import Sequence
from typing import Final

import msgspec
import pytest
from tiny_keccak import keccak256

from contracts.batch import Line, SignedIntent, SignedMandate, pack
from contracts.bindings import SETTLEMENT
from intents.admission import Rules, Verified
from intents.bulk import (
    HEIGHT_MAX,
    INTENTS_MAX,
    UnverifiedBulk,
    admit_bulk,
    bulk_digest,
    proven_digest,
    sign_bulk,
    tree,
)
from intents.bundle import Bundle, UnverifiedBundle, VerifiedBundle, admit_bundle, sign_bundle
from intents.document import Intent, Mandate
from intents.reject import Reject
from intents.signature import SigningKey
from intents.typed_data import Domain, digest, struct_hash
from solver.core.command import Authority, SubmitIntent, SubmitMandate
from solver.core.event import Filled, LeaseStatus
from solver.core.state import Batch
from solver.core.weight import BYTES_FIXED, OFFER_GAS, Load
from solver.settlement.batch import CALLDATA_BYTES_MAX, encode_batch
from solver.settlement.transaction import GAS_MAX
from tests.settlement.world import CHAIN_ID, RESOURCE, USD, World

MAY_SIGN: Final = 2
PAID_EACH: Final = 8_000
"""What using 8 of 10 units of the world's offer costs."""


def _domain(world: World) -> Domain:
    return Domain(chain_id=CHAIN_ID, verifying_contract=world.deployment.settlement)


def _intent(world: World, account: str, nonce: int, resource: str = RESOURCE) -> Intent:
    return Intent(
        account=account,
        resource=resource,
        asset=world.deployment.usdc,
        units=10,
        limit=20_000,
        valid_until=world.clock.now_ms() // 1_000 + 86_400,
        nonce=nonce,
    )


async def _bulk(
    world: World,
    signer: SigningKey,
    count: int,
    *,
    account: str | None = None,
    authority: Authority = Authority.KEY,
    taken: Sequence[int] | None = None,
) -> list[str]:
    """Sign so many intents at once, submit those `taken` (all), and use what each one bought."""
    payer = account or signer.address
    intents = tuple(_intent(world, payer, 1_000 + place) for place in range(count))
    bulk = UnverifiedBulk(intents=intents, signature=sign_bulk(signer, _domain(world), intents))
    rules = Rules(domain=_domain(world), assets=frozenset({world.deployment.usdc}))
    answers = admit_bulk(bulk, rules, world.clock.now_ms() // 1_000)
    assert not isinstance(answers, Reject), answers
    digests = []
    for place in range(count) if taken is None else taken:
        verified = answers[place]
        assert isinstance(verified, Verified)
        command = SubmitIntent(
            intent=verified.document,
            digest=verified.digest,
            signer=verified.signer or payer,
            authority=authority,
            signature=verified.signature,
            proof=verified.proof,
        )
        digests.append(await _use(world, command))
    return digests


async def _use(world: World, command: SubmitIntent) -> str:
    result = await world.do(command)
    fills = [event.fill for event in result.events if isinstance(event, Filled)]
    await world.consume(command.digest, fills, units=8)
    return command.digest


async def _mandate(
    world: World,
    signer: SigningKey,
    *,
    account: str | None = None,
    authority: Authority = Authority.KEY,
    resource: str = RESOURCE,
    limit: int = USD,
) -> str:
    """Sign and register a mandate; returns its digest."""
    mandate = Mandate(
        account=account or signer.address,
        resource=resource,
        asset=world.deployment.usdc,
        tick_max=2_000_000_000,
        limit=limit,
        valid_until=world.clock.now_ms() // 1_000 + 86_400,
        nonce=7,
    )
    hashed = digest(_domain(world).prefix(), mandate)
    await world.do(
        SubmitMandate(
            mandate=mandate,
            digest="0x" + hashed.hex(),
            signer=signer.address,
            authority=authority,
            signature=signer.sign(hashed),
        )
    )
    return "0x" + hashed.hex()


async def _buy_under(world: World, mandate: str, nonce: int) -> str:
    """Submit an intent under a mandate, and use what it bought."""
    account = world.state.mandates[mandate].document.account
    intent = _intent(world, account, nonce)
    hashed = "0x" + digest(_domain(world).prefix(), intent).hex()
    return await _use(
        world,
        SubmitIntent(
            intent=intent, digest=hashed, signer=mandate, authority=Authority.MANDATE, signature=""
        ),
    )


async def _wallet(world: World, key: SigningKey) -> tuple[str, SigningKey]:
    """A funded contract account whose owner gave `key` a session; answers the owner too."""
    owner = SigningKey.generate()
    account = await world.session_account(owner)
    await world.grant(owner, account, key, permissions=MAY_SIGN, cap=USD)
    await world.deposit(account, 5 * USD)
    await world.finalize()
    return account, owner


def _gas(world: World, batch: Batch) -> int:
    """What the node says that the batch needs."""
    call = {
        "from": world.session.address,
        "to": world.deployment.operator_account,
        "data": "0x" + encode_batch(world.state, batch, world.awards).hex(),
    }
    return int(world.anvil.rpc("eth_estimateGas", call), 16)


def _load(world: World, batch: Batch) -> Load:
    """What the core weighs for the batch."""
    load = Load(CALLDATA_BYTES_MAX, GAS_MAX)
    assert load.takes(world.state, [world.state.leases[line.fill] for line in batch.lines])
    return load


def _is_bounded(world: World, batch: Batch) -> bool:
    """Whether the core weighs no less than what the batch is and needs."""
    load = _load(world, batch)
    return (
        len(encode_batch(world.state, batch, world.awards)) <= load.bytes
        and _gas(world, batch) <= load.gas
    )


async def _pays(world: World, batch: Batch, paid: int) -> None:
    """The chain pays all lines of the batch, and the books agree."""
    await world.settle()
    assert (batch.paid, batch.skipped) == (paid, 0)
    assert (await world.reconcile()).is_clean
    assert not world.alarms


# -- bulks


@pytest.mark.parametrize("count", [1, 2, 3, 12])
async def test_a_bulk_is_paid_intent_by_intent(world: World, count: int) -> None:
    """One signature for all; each intent settles by its proof, and the books agree."""
    await world.sell(SigningKey.generate())
    await _bulk(world, await world.a_buyer(), count)
    batch = await world.cut()
    assert _is_bounded(world, batch)
    await _pays(world, batch, count * PAID_EACH)


async def test_the_highest_tree_is_paid(world: World) -> None:
    """1,024 intents: first, middle and last are proven by ten siblings each, within the bounds."""
    await world.sell(SigningKey.generate())
    buyer = await world.a_buyer()
    await _bulk(world, buyer, INTENTS_MAX, taken=(0, 511, INTENTS_MAX - 1))
    batch = await world.cut()
    assert _is_bounded(world, batch)
    await _pays(world, batch, 3 * PAID_EACH)


@pytest.mark.parametrize("authority", [Authority.KEY, Authority.SESSION, Authority.CONTRACT])
async def test_each_proof_more_weighs_enough(world: World, authority: Authority) -> None:
    """Beside what is fixed, 20 proofs of the highest tree cost no more than the core adds."""
    await world.sell(SigningKey.generate())
    agent = signer = SigningKey.generate()
    account, owner = await _wallet(world, agent)
    if authority is Authority.KEY:
        signer = await world.a_buyer()
        account = signer.address
    if authority is Authority.CONTRACT:
        signer = owner
    # Every fourth one: a counter word of its own, the dearest an intent can be.
    taken = range(0, 84, 4)
    await _bulk(world, signer, INTENTS_MAX, account=account, authority=authority, taken=taken)
    one = await world.cut(fills_max=1)
    base_gas, base = _gas(world, one), _load(world, one)
    await _pays(world, one, PAID_EACH)
    rest = await world.cut()
    assert len(rest.lines) == 20
    added = _gas(world, rest) - base_gas
    assert 0 < added <= _load(world, rest).gas - base.gas + OFFER_GAS
    await _pays(world, rest, 20 * PAID_EACH)


async def test_parts_of_a_bulk_settle_in_batches_of_their_own(world: World) -> None:
    """An intent needs no other of its bulk beside it: each batch carries what it needs."""
    await world.sell(SigningKey.generate())
    await _bulk(world, await world.a_buyer(), 5)
    for _ in range(5):
        batch = await world.cut(fills_max=1)
        await _pays(world, batch, PAID_EACH)


async def test_a_session_signs_a_bulk(world: World) -> None:
    """Every intent of it is charged to the session that signed the tree."""
    await world.sell(SigningKey.generate())
    agent = SigningKey.generate()
    account, _ = await _wallet(world, agent)
    await _bulk(world, agent, 4, account=account, authority=Authority.SESSION)
    batch = await world.cut()
    assert _is_bounded(world, batch)
    await _pays(world, batch, 4 * PAID_EACH)
    assert world.state.accounts[account].sessions[agent.address].spent == 4 * PAID_EACH


async def test_a_contract_signs_a_bulk(world: World) -> None:
    """EIP-1271 over the digest of the tree."""
    await world.sell(SigningKey.generate())
    account, owner = await _wallet(world, SigningKey.generate())
    await _bulk(world, owner, 4, account=account, authority=Authority.CONTRACT)
    batch = await world.cut()
    assert _is_bounded(world, batch)
    await _pays(world, batch, 4 * PAID_EACH)


async def test_a_proof_of_another_intent_is_skipped_alone(world: World) -> None:
    """Planted: one intent with its neighbour's proof loses its line, the neighbour is paid."""
    await world.sell(SigningKey.generate())
    first, second = await _bulk(world, await world.a_buyer(), 2)
    batch = await world.cut()
    world.state.intents[first].proof_or_place = world.state.intents[second].proof
    await world.settle()
    assert (batch.paid, batch.skipped) == (PAID_EACH, 1)
    skipped = [lease.intent for lease in world.state.leases.values() if _is_skipped(lease.status)]
    assert skipped == [first]


def _is_skipped(status: LeaseStatus) -> bool:
    return status is LeaseStatus.SKIPPED


@pytest.mark.parametrize("count", [1, 2, 3, 7, 64, INTENTS_MAX])
async def test_the_contract_proves_what_we_prove(world: World, count: int) -> None:
    """`bulkDigest` on chain is our digest of the tree, for the first and the last leaf."""
    prefix = _domain(world).prefix()
    intents = [_intent(world, world.session.address, place) for place in range(count)]
    grown = tree([struct_hash(intent) for intent in intents])
    ours = bulk_digest(prefix, grown.height, grown.root)
    proofs = grown.proofs()
    for place in {0, count - 1}:
        assert await _chain_digest(world, intents[place], proofs[place]) == ours
        assert proven_digest(prefix, struct_hash(intents[place]), proofs[place]) == ours
    assert grown.height <= HEIGHT_MAX


async def _chain_digest(
    world: World, intent: Intent, proof: str, name: str = "bulkDigest"
) -> bytes:
    function = SETTLEMENT.function(name)
    terms = (
        intent.account,
        keccak256(intent.resource.encode()),
        intent.units,
        intent.units_min,
        intent.limit,
        intent.valid_from,
        intent.valid_until,
        intent.immediate,
        intent.epoch,
        intent.nonce,
    )
    data = function.encode(terms, bytes.fromhex(proof[2:]))
    return await world.chain.call(world.deployment.settlement, data)


# -- bundles


async def _bundle(
    world: World, signer: SigningKey, count: int, *, taken: Sequence[int] | None = None
) -> VerifiedBundle:
    """Sign so many legs at once, submit those `taken` (all), and use what each one bought."""
    payer = signer.address
    bundle = Bundle(
        any=True,
        success_min=990,
        latency_max=1_500,
        legs=tuple(_intent(world, payer, 2_000 + place) for place in range(count)),
    )
    signature = sign_bundle(signer, _domain(world), bundle)
    sent = UnverifiedBundle(**msgspec.structs.asdict(bundle), signature=signature)
    rules = Rules(domain=_domain(world), assets=frozenset({world.deployment.usdc}))
    admitted = admit_bundle(sent, rules, world.clock.now_ms() // 1_000)
    assert isinstance(admitted, VerifiedBundle), admitted
    for place in range(count) if taken is None else taken:
        leg = admitted.legs[place]
        command = SubmitIntent(
            intent=leg.document,
            digest=leg.digest,
            signer=leg.signer or payer,
            authority=Authority.KEY,
            signature=leg.signature,
            proof=leg.proof,
        )
        await _use(world, command)
    return admitted


@pytest.mark.parametrize(("count", "taken"), [(2, (1,)), (3, (0, 1, 2)), (16, (0, 7, 15))])
async def test_legs_of_a_bundle_are_paid(world: World, count: int, taken: tuple[int, ...]) -> None:
    """Each settles by its proof with the terms, beside its siblings or without them."""
    await world.sell(SigningKey.generate())
    await _bundle(world, await world.a_buyer(), count, taken=taken)
    batch = await world.cut()
    assert _is_bounded(world, batch)
    await _pays(world, batch, len(taken) * PAID_EACH)


@pytest.mark.parametrize("change", ["any", "success", "latency", "index", "sibling"])
async def test_altered_terms_are_skipped_alone(world: World, change: str) -> None:
    """Planted: a digit of what was signed for a leg is another, and the chain pays its sibling."""
    await world.sell(SigningKey.generate())
    first, second = (await _bundle(world, await world.a_buyer(), 2)).legs
    batch = await world.cut()
    at = {"any": 3, "success": 5, "latency": 14, "index": 19, "sibling": 30}[change]
    digit = "1" if first.proof[at] == "0" else "0"
    altered = first.proof[:at] + digit + first.proof[at + 1 :]
    world.state.intents[first.digest].proof_or_place = altered
    await world.settle()
    assert (batch.paid, batch.skipped) == (PAID_EACH, 1)
    skipped = [lease.intent for lease in world.state.leases.values() if _is_skipped(lease.status)]
    assert skipped == [first.digest]
    assert second.digest not in skipped


@pytest.mark.parametrize("count", [2, 3, 7, 16])
async def test_the_contract_proves_bundles_as_we_do(world: World, count: int) -> None:
    """`bundleDigest` on chain is our bundle's digest, for every leg."""
    buyer = SigningKey.generate()
    admitted = await _bundle(world, buyer, count, taken=())
    for leg in admitted.legs:
        proven = await _chain_digest(world, leg.document, leg.proof, "bundleDigest")
        assert "0x" + proven.hex() == admitted.digest


# -- mandates


async def test_intents_under_a_mandate_are_paid_as_one_entry(world: World) -> None:
    """Five intents without a signature of their own; the chain counts the mandate's atoms."""
    await world.sell(SigningKey.generate())
    buyer = await world.a_buyer()
    mandate = await _mandate(world, buyer)
    for nonce in range(5):
        await _buy_under(world, mandate, 100 + nonce)
    batch = await world.cut()
    assert _is_bounded(world, batch)
    await _pays(world, batch, 5 * PAID_EACH)
    assert await _counted(world, buyer.address, 7) == 5 * PAID_EACH
    assert world.state.mandates[mandate].spent == 5 * PAID_EACH


async def test_a_mandate_lasts_over_batches(world: World) -> None:
    """Each batch lists it again, and its counter goes on."""
    await world.sell(SigningKey.generate())
    buyer = await world.a_buyer()
    mandate = await _mandate(world, buyer, resource="", limit=20_000 + PAID_EACH)
    for nonce in range(2):
        await _buy_under(world, mandate, 100 + nonce)
        batch = await world.cut()
        assert _is_bounded(world, batch)
        await _pays(world, batch, PAID_EACH)
        assert await _counted(world, buyer.address, 7) == (nonce + 1) * PAID_EACH


async def test_a_session_signs_a_mandate(world: World) -> None:
    """What is bought under it is charged to the session, on chain and in the book."""
    await world.sell(SigningKey.generate())
    agent = SigningKey.generate()
    account, _ = await _wallet(world, agent)
    mandate = await _mandate(world, agent, account=account, authority=Authority.SESSION)
    for nonce in range(3):
        await _buy_under(world, mandate, 100 + nonce)
    batch = await world.cut()
    assert _is_bounded(world, batch)
    await _pays(world, batch, 3 * PAID_EACH)
    assert world.state.accounts[account].sessions[agent.address].spent == 3 * PAID_EACH


async def test_a_contract_signs_a_mandate(world: World) -> None:
    """EIP-1271 over the mandate's digest."""
    await world.sell(SigningKey.generate())
    account, owner = await _wallet(world, SigningKey.generate())
    mandate = await _mandate(world, owner, account=account, authority=Authority.CONTRACT)
    await _buy_under(world, mandate, 100)
    batch = await world.cut()
    assert _is_bounded(world, batch)
    await _pays(world, batch, PAID_EACH)


async def test_a_forged_mandate_takes_nothing_with_it(world: World) -> None:
    """Its lines are skipped and voided; a plain intent, a bulk and a good mandate are paid."""
    await world.sell(SigningKey.generate())
    good, bad = await world.a_buyer(), await world.a_buyer()
    intent, leases = await world.buy(good)
    await world.consume(intent, leases, units=8)
    await _bulk(world, good, 3)
    await _buy_under(world, await _mandate(world, good), 100)
    forged = await _mandate(world, bad)
    await _buy_under(world, forged, 100)
    batch = await world.cut()
    world.state.mandates[forged].signature = good.sign(bytes(32))
    await world.settle()
    assert (batch.paid, batch.skipped) == (5 * PAID_EACH, 1)
    assert world.available(bad.address) == await world.balance(bad.address) == 5 * USD


async def _counted(world: World, account: str, nonce: int) -> int:
    function = SETTLEMENT.function("settledUnits")
    answer = await world.chain.call(world.deployment.settlement, function.encode(account, nonce))
    return int(function.decode_outputs(answer)[0])


# -- the layout


def _lines(count: int) -> tuple[Line, ...]:
    return tuple(
        Line(offer=0, units=1, delivered=1, payment=1, fill=f"0x{place:064x}")
        for place in range(count)
    )


async def test_a_mandate_with_more_lines_than_a_byte_counts_is_listed_again(world: World) -> None:
    """300 lines of one mandate weigh what two entries do, and are two entries."""
    await world.sell(SigningKey.generate(), units=10_000, limit=10 * USD)
    buyer = await world.a_buyer()
    mandate = await _mandate(world, buyer, limit=4 * USD)
    for nonce in range(300):
        intent = _intent(world, buyer.address, 100 + nonce)
        hashed = "0x" + digest(_domain(world).prefix(), intent).hex()
        command = SubmitIntent(
            intent=intent, digest=hashed, signer=mandate, authority=Authority.MANDATE, signature=""
        )
        await _use(world, command)
    batch = await world.cut(fills_max=300)
    assert len(batch.lines) == 300
    load = Load(CALLDATA_BYTES_MAX, GAS_MAX)
    assert load.takes(world.state, world.state.leases.values())
    assert (
        load.bytes - BYTES_FIXED
        <= len(encode_batch(world.state, batch, world.awards))
        <= load.bytes
    )
    await _pays(world, batch, 300 * PAID_EACH)


def test_neighbours_of_a_bulk_carry_its_signature_once() -> None:
    """Beside plain intents and mandates too; another bulk's signature is there again."""
    key = SigningKey.generate()
    signature, other = key.sign(bytes(32)), key.sign(b"\1" * 32)
    proof = "0x0000" + "00" * 32

    def an_intent(signature: str, proof: str = "") -> SignedIntent:
        intent = Intent(
            account=key.address,
            resource=RESOURCE,
            asset=key.address,
            units=1,
            limit=1,
            valid_until=1,
            nonce=1,
        )
        return SignedIntent(
            intent=intent, authority=0, signature=signature, proof=proof, lines=_lines(1)
        )

    mandate = SignedMandate(
        mandate=Mandate(
            account=key.address,
            resource="",
            asset=key.address,
            tick_max=1,
            limit=1,
            valid_until=1,
            nonce=1,
        ),
        authority=0,
        signature=other,
        lines=_lines(2),
    )
    packed = pack(
        [],
        [
            an_intent(signature, proof),
            an_intent(other),
            mandate,
            an_intent(signature, proof),
            an_intent(other, proof),
            an_intent(signature, proof),
        ],
    )
    assert packed.count(bytes.fromhex(signature[2:])) == 2
    assert packed.count(bytes.fromhex(other[2:])) == 3
