"""Bundles entering the market, and what an auction shows of them."""

from collections.abc import Iterator, Sequence

import msgspec

from intents.bound import LEGS_MAX, LEGS_MIN
from intents.reject import Reject, RejectCode, reject
from solver.core.auction import SnapshotBook, SnapshotBundle
from solver.core.bundle import Bundle
from solver.core.check import check
from solver.core.command import Authority, Mode, SubmitBundle
from solver.core.document import intent_record
from solver.core.event import BundleAccepted
from solver.core.intake import accept_leg, fault_in_leg, fault_in_sum
from solver.core.ledger import hold, release
from solver.core.state import IntentState, State
from solver.core.trade import commit


def submit_bundle(state: State, command: SubmitBundle) -> Reject | None:
    """Admit a bundle with all its legs, each an intent whose limit is held, or none of them.

    Of an any-of the largest limit is held, by its leg for all: what is filled takes it over.
    Rejects, in order: already_known, those of the first leg that is refused by itself (see
    `intake.admit_intent`), not_authorized (under a mandate), bundle_needs_epochs,
    insufficient_funds, session_cap_exceeded.
    """
    if command.digest in state.bundles.by_digest:
        return reject(RejectCode.ALREADY_KNOWN, f"{command.digest} was accepted before")
    legs = list(_records(command))
    holds = _holds(legs, any_of=command.any_of)
    fault = _fault_in_legs(state, legs) or fault_in_sum(state, legs, sum(holds))
    if fault is not None:
        return fault
    bundle = Bundle(
        digest=command.digest,
        account=legs[0].account,
        any_of=command.any_of,
        legs=tuple(leg.digest for leg in legs),
        floor=command.floor,
    )
    state.bundles.add(bundle)
    state.emit(
        BundleAccepted(
            bundle=bundle.digest, account=bundle.account, any_of=bundle.any_of, legs=bundle.legs
        )
    )
    for leg, held in zip(legs, holds, strict=True):
        accept_leg(state, leg, held)
    return None


def choose_leg(state: State, intent: IntentState) -> None:
    """Before it is filled, an intent holds its own limit, if another leg held it so far.

    That never takes money that is not held: the leg that gives has the largest limit.
    """
    bundle = state.bundles.of(intent.digest)
    if bundle is None or not bundle.any_of or intent.filled_units:
        return
    for digest in bundle.legs:
        if digest != intent.digest:
            _rehold(state, state.intents[digest], 0)
    _rehold(state, intent, intent.limit)


def _rehold(state: State, leg: IntentState, held: int) -> None:
    """Have an unfilled leg hold so much, and its signer answer for that."""
    order, more = leg.order, held - leg.order.held
    if more > 0:
        hold(order.money, more)
    else:
        release(order.money, -more)
    order.held = held
    commit(state, leg, more)


def _holds(legs: Sequence[IntentState], *, any_of: bool) -> list[int]:
    """What each leg holds until one is filled: its limit, but of an any-of one leg's is enough."""
    limits = [leg.limit for leg in legs]
    if not any_of:
        return limits
    place = limits.index(max(limits))
    return [limit if at == place else 0 for at, limit in enumerate(limits)]


def _records(command: SubmitBundle) -> Iterator[IntentState]:
    check(LEGS_MIN <= len(command.legs) <= LEGS_MAX, "bundle_has_legs", bundle=command.digest)
    for leg in command.legs:
        yield intent_record(
            leg.intent,
            digest=leg.digest,
            signer=command.signer,
            authority=command.authority,
            signature=command.signature,
            proof=leg.proof,
        )


def _fault_in_legs(state: State, legs: list[IntentState]) -> Reject | None:
    for leg in legs:
        fault = fault_in_leg(state, leg, len(legs))
        if fault is not None:
            return fault
    if legs[0].authority is Authority.MANDATE:
        return reject(RejectCode.NOT_AUTHORIZED, "a mandate is for single intents alone")
    for leg in legs:
        if state.resources[leg.resource] is not Mode.EPOCH:
            return reject(RejectCode.BUNDLE_NEEDS_EPOCHS, f"{leg.resource} trades continuously")
    return None


def seen_bundles(state: State, books: tuple[SnapshotBook, ...]) -> tuple[SnapshotBundle, ...]:
    """The bundles that bind intents of these books.

    An any-of with one leg left binds nothing but the keys that may serve it.
    """
    seen: dict[str, list[str]] = {}
    for book in books:
        for order in book.intents:
            bundle = state.bundles.of(order.id)
            if bundle is not None:
                seen.setdefault(bundle.digest, []).append(order.id)
    bundles = [(state.bundles.by_digest[digest], tuple(legs)) for digest, legs in seen.items()]
    return tuple(
        SnapshotBundle(id=bundle.digest, any_of=bundle.any_of, legs=legs, floor=bundle.floor)
        for bundle, legs in bundles
        if len(legs) > 1 or bundle.floor.asks
    )


def without_parts(state: State, books: tuple[SnapshotBook, ...]) -> tuple[SnapshotBook, ...]:
    """The books without legs of bundles that cannot be whole in them."""
    present = {order.id for book in books for order in book.intents}
    parts = {leg for leg in present if _is_part(state, leg, present)}
    if not parts:
        return books
    return tuple(
        msgspec.structs.replace(
            book, intents=tuple(order for order in book.intents if order.id not in parts)
        )
        for book in books
    )


def _is_part(state: State, intent: str, present: set[str]) -> bool:
    bundle = state.bundles.of(intent)
    return bundle is not None and not bundle.any_of and not present.issuperset(bundle.legs)
