"""What must hold of every auction: checks that tests, and tests of those tests, share."""

from collections.abc import Sequence
from fractions import Fraction
from random import Random
from typing import Final

import msgspec

from solver.core.bid import Bid, score_of, second_scores, weight
from solver.core.bond import ATOM, penalty_of
from solver.core.charge import parts_of
from solver.core.proof import Proof, Ring, holds
from solver.core.reward import Reward, reward_of, rewards
from solver.core.winner import Competition, Selection
from tests.auction.bidding import SMALL, Scenario, draw_bids, draw_seed, seeded
from tests.auction.oracle import brute_force

ACCOUNT: Final = "0x" + "ac" * 20
"""Who is paid has one."""
SCALES: Final = tuple(Fraction(n, 100) for n in (80, 90, 95, 105, 110, 120))


def run(bids: Sequence[Bid], seed: bytes) -> tuple[Selection, list[Reward]]:
    """Winners and rewards of one auction."""
    competition = Competition(bids, seed)
    winners = competition.best()
    return winners, rewards(competition, winners, bids)


def small(seed: int) -> tuple[list[Bid], bytes]:
    """One of the auctions that brute force can do: up to 12 buckets and 36 bids.

    Among them are such with few distinct scores, where ties are many, and tiny ones.
    """
    random = seeded(f"size {seed}")
    scenario = Scenario(
        buckets=random.randint(1, 12),
        bids=random.randint(1, 36),
        synergy=random.choice((0.0, 0.1, 0.3, 0.5)),
        unit=random.choice((2, 10**6, 10**12, 10**30)),
    )
    return draw_bids(scenario, seed), draw_seed(seed)


def check_best(seed: int) -> None:
    """The winners overlap nowhere, weigh what brute force finds, and that is proven."""
    bids, ties = small(seed)
    winners = Competition(bids, ties).best()
    chosen = [bid for bid in bids if bid.id in winners.bids]
    covered = [bucket for bid in chosen for bucket in bid.surplus]
    assert len(covered) == len(set(covered))
    assert len(chosen) == len(winners.bids)
    assert winners.score == sum(bid.score for bid in chosen) == winners.score_max
    best = brute_force(bids, ties)
    assert sum(weight(bid, ties) for bid in chosen) == best == winners.proof.weight_max
    assert holds(winners.proof, bids, ties)


def check_order(seed: int) -> None:
    """The same bids in another order win the same, whatever found them."""
    bids, ties = small(seed)
    shuffled = seeded(seed).sample(bids, len(bids))
    assert run(bids, ties) == run(shuffled, ties)


def check_ties(seed: int) -> None:
    """Of two selections with equal scores each wins about as often; size does not matter."""
    bids = [
        Bid(id=f"a{seed}", solver="ann", surplus={1: 2, 2: 2}),
        Bid(id=f"b{seed}", solver="bob", surplus={1: 4}),
        Bid(id=f"c{seed}", solver="cid", surplus={2: 0}),
    ]
    wins = [Competition(bids, draw_seed(n)).best().bids for n in range(100)]
    assert 25 < wins.count((f"a{seed}",)) < 75


def check_gap(seed: int) -> None:
    """Little work: a valid selection, a bound that holds and is proven, in any order."""
    bids, ties = draw_bids(Scenario(buckets=12, bids=36), seed), draw_seed(seed)
    best = brute_force(bids, ties)
    for work_max in (0, 2_000, 20_000):
        winners = Competition(bids, ties, work_max).best()
        assert winners == Competition(list(reversed(bids)), ties, work_max).best()
        assert winners.score <= score_of(best) <= winners.score_max
        assert winners.proof.weight_max >= best
        assert holds(winners.proof, bids, ties)
    assert Competition(bids, ties).best().proof.weight_max == best


def check_proof(seed: int) -> None:
    """The checker takes the proof, and none that says a little else, or of other bids."""
    bids, ties = draw_bids(SMALL, seed), draw_seed(seed)
    proof = Competition(bids, ties).best().proof
    assert holds(proof, bids, ties)
    assert not any(holds(wrong, bids, ties) for wrong in wrong_proofs(proof))
    more = [*bids, Bid(id="new", solver="new", surplus={0: 1 << 60})]
    assert not holds(proof, more, ties)


def wrong_proofs(proof: Proof) -> list[Proof]:
    """A claim that is too good, itself or by a price below zero, and bids left out."""
    part, *rest = proof.parts
    less = part.weight_max - 1
    below = msgspec.structs.replace(part.case, prices=part.case.prices | {255: -1})
    room = Ring(buckets=(254, 255), price=-1)
    ringed = msgspec.structs.replace(part.case, rings=(*part.case.rings, room))
    parts = [
        msgspec.structs.replace(part, weight_max=less),
        msgspec.structs.replace(part, weight_max=less, case=below),
        msgspec.structs.replace(part, weight_max=less, case=ringed),
        msgspec.structs.replace(part, bids=part.bids[1:]),
    ]
    wrong = [msgspec.structs.replace(proof, parts=(one, *rest)) for one in parts]
    return [*wrong, msgspec.structs.replace(wrong[-1], beaten=proof.beaten | {part.bids[0]: ()})]


def check_rewards(seed: int) -> None:
    """Exact references; never negative; in total no more than W less Σ second-best (P2, P4)."""
    bids, ties = small(seed)
    winners, paid = run(bids, ties)
    second = second_scores(bids)
    for reward in paid:
        without = [bid for bid in bids if bid.solver != reward.solver]
        assert winners.score - score_of(brute_force(without, ties)) == reward.amount >= 0
        mine = [b for b in bids if b.id in winners.bids and b.solver == reward.solver]
        covered = sum(second[bucket] for bid in mine for bucket in bid.surplus)
        assert reward.score == sum(bid.score for bid in mine)
        assert reward.reference >= covered
    assert sum(reward.amount for reward in paid) <= winners.score - sum(second.values())


def check_charges(seed: int) -> None:
    """P4, P8: buckets are charged the reward, and of what they have above their b₂ alone."""
    bids, ties = small(seed)
    winners, paid = run(bids, ties)
    second = second_scores(bids)
    for reward in paid:
        wins = [b for b in bids if b.id in winners.bids and b.solver == reward.solver]
        parts = parts_of(msgspec.structs.replace(reward, solver=ACCOUNT), wins, second)
        surplus = {bucket: part for bid in wins for bucket, part in bid.surplus.items()}
        kept = {bucket: part - parts.get(bucket, 0) for bucket, part in surplus.items()}
        assert 0 <= reward.amount - sum(parts.values()) <= len(surplus)
        assert all(kept[b] >= min(part, second[b]) for b, part in surplus.items())
        assert sum(kept.values()) >= sum(second[bucket] for bucket in surplus)
        for bid in wins:
            assert bid.score >= sum(second[bucket] for bucket in bid.surplus)
            if len(bid.surplus) == 1:
                assert all(kept[bucket] >= second[bucket] for bucket in bid.surplus)


def check_penalties(seed: int) -> None:
    """P11: who fades owes what others could have had, within the cap; who delivers, nothing."""
    bids, ties = small(seed)
    random = seeded(f"fades {seed}")
    for reward in run(bids, ties)[1]:
        penalty_max = random.randrange(10**6)
        faded = random.randint(0, reward.score)
        penalty = penalty_of(faded - reward.amount, penalty_max)
        assert 0 <= penalty <= penalty_max
        assert penalty == penalty_max or penalty * ATOM >= faded - reward.amount
        assert penalty_of(0 - reward.amount, penalty_max) == 0
        whole = penalty_of(reward.score - reward.amount, penalty_max)
        assert whole == min(penalty_max, -(-reward.reference // ATOM))


def misreports(bids: Sequence[Bid], solver: str, random: Random) -> list[list[Bid]]:
    """What a solver could say instead: all scaled, one dropped, one scored anew."""
    mine = [bid for bid in bids if bid.solver == solver]
    others = [bid for bid in bids if bid.solver != solver]
    scaled = [[_scaled(bid, scale) for bid in mine] for scale in SCALES]
    one = random.choice(mine)
    dropped = [bid for bid in mine if bid is not one]
    anew = [*dropped, _scaled(one, Fraction(random.randrange(1, 400), 100))]
    return [[*others, *said] for said in (*scaled, dropped, anew)]


def _scaled(bid: Bid, scale: Fraction) -> Bid:
    surplus = {bucket: int(part * scale) for bucket, part in bid.surplus.items()}
    return msgspec.structs.replace(bid, surplus=surplus)


def gain(bids: Sequence[Bid], solver: str, truth: dict[str, int], ties: bytes) -> int:
    """What a solver has of an auction: its reward, and what it keeps of what it did not say.

    Who says more than it can deliver pays the rest itself.
    """
    competition = Competition(bids, ties)
    winners = competition.best()
    won = [bid for bid in bids if bid.solver == solver and bid.id in winners.bids]
    if not won:
        return 0
    said = sum(bid.score for bid in won)
    kept = sum(truth[bid.id] for bid in won) - said
    return kept + reward_of(solver, said, competition, winners).amount


def check_truth(seed: int, scenario: Scenario = SMALL) -> None:
    """P3: a winner gains by no misreport; every other time, a loser."""
    bids, ties = draw_bids(scenario, seed), draw_seed(seed)
    truth = {bid.id: bid.score for bid in bids}
    winners = Competition(bids, ties).best()
    random = seeded(f"liars {seed}")
    won = {bid.solver for bid in bids if bid.id in winners.bids}
    lost = {bid.solver for bid in bids} - won
    solver = random.choice(sorted(lost if seed % 2 and lost else won))
    honest = gain(bids, solver, truth, ties)
    assert honest >= 0
    for said in misreports(bids, solver, random):
        assert gain(said, solver, truth, ties) <= honest


def check_disjoint(seed: int) -> None:
    """P5: a bucket has one winner, and so all its fills one price."""
    bids, ties = small(seed)
    won = Competition(bids, ties).best().bids
    covered = [bucket for bid in bids if bid.id in won for bucket in bid.surplus]
    assert len(covered) == len(set(covered))


def check_losers(seed: int) -> None:
    """P6: without a losing bid the same win, ties included."""
    bids, ties = small(seed)
    won = Competition(bids, ties).best().bids
    for loser in [bid for bid in bids if bid.id not in won][:4]:
        rest = [bid for bid in bids if bid is not loser]
        assert Competition(rest, ties).best().bids == won


def check_raised(seed: int) -> None:
    """P7: more surplus in any of its buckets never loses; the others may change."""
    bids, ties = small(seed)
    random = seeded(seed)
    for name in Competition(bids, ties).best().bids[:4]:
        winner = next(bid for bid in bids if bid.id == name)
        more = {bucket: part + random.randrange(9) for bucket, part in winner.surplus.items()}
        raised = msgspec.structs.replace(winner, surplus=more)
        others = [bid for bid in bids if bid is not winner]
        assert name in Competition([*others, raised], ties).best().bids


def check_names(seed: int) -> int:
    """P10: who bids under two names gains at most its reference less b₂ of what it wins."""
    bids, ties = draw_bids(SMALL, seed), draw_seed(seed)
    winners, (honest, *_) = run(bids, ties)
    second = second_scores(bids)
    wins = [b for b in bids if b.id in winners.bids and b.solver == honest.solver]
    bound = honest.reference - sum(second[bucket] for bid in wins for bucket in bid.surplus)
    moved = {bid.id for bid in [b for b in bids if b.solver == honest.solver][::2]}
    split = [
        msgspec.structs.replace(bid, solver="another name") if bid.id in moved else bid
        for bid in bids
    ]
    names = {honest.solver, "another name"}
    both = sum(reward.amount for reward in run(split, ties)[1] if reward.solver in names)
    gained = both - honest.amount
    assert gained <= bound
    return gained
