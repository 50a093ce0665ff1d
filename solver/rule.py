"""The operator's rules as its settings say them: journaled where they are others than before."""

from contracts.bindings import BONDS, SETTLEMENT
from intents.reject import Reject
from solver.core.command import FinishCall, OpenResource, RetireKey, SetBonds, SetMetering
from solver.engine.sequencer import Sequencer
from solver.ground import Ground, StartRefused
from solver.runtime.config import Config


async def set_rules(config: Config, ground: Ground, sequencer: Sequencer) -> None:
    """What is metered, and what bids need. Raises StartRefused."""
    await _set_metering(config, ground, sequencer)
    await _set_bonds(config, ground, sequencer)


async def require(
    sequencer: Sequencer, command: FinishCall | OpenResource | RetireKey | SetBonds | SetMetering
) -> None:
    """Have the market take a command. Raises StartRefused."""
    result = await sequencer.submit(command)
    if isinstance(result, Reject):
        raise StartRefused(f"{type(command).__name__}: {result.message}")


async def _set_metering(config: Config, ground: Ground, sequencer: Sequencer) -> None:
    """Journal the operator's rule where it is another one than before."""
    state, wanted = sequencer.market.state, config.market
    rule = SetMetering(
        payment_max=wanted.metered_atoms_max,
        uncovered_max=wanted.uncovered_atoms_max,
        unsettled_max=wanted.unsettled_atoms_max,
    )
    metering = state.metering
    known = (state.metered_max, metering.uncovered_max, metering.unsettled_max)
    if (rule.payment_max, rule.uncovered_max, rule.unsettled_max) == known:
        return
    if rule.payment_max:
        await _check_cap(ground, rule.uncovered_max)
    await require(sequencer, rule)


async def _set_bonds(config: Config, ground: Ground, sequencer: Sequencer) -> None:
    """Journal what bids need where it is another rule than before."""
    wanted, contract = config.auction, ground.deployment.bonds
    rule = SetBonds(bond_min=0)
    if wanted.bond_atoms_min:
        await _check_penalty(ground, wanted.penalty_atoms_max)
        rule = SetBonds(
            bond_min=wanted.bond_atoms_min,
            exposure_percent=wanted.exposure_percent,
            penalty_max=wanted.penalty_atoms_max,
            contract=contract,
        )
    known = sequencer.market.state.bonds.rule
    asked = (rule.bond_min, rule.exposure_percent, rule.penalty_max, rule.contract)
    if asked != (known.bond_min, known.exposure_percent, known.penalty_max, known.contract):
        await require(sequencer, rule)


async def _check_penalty(ground: Ground, penalty_max: int) -> None:
    asked = BONDS.function("penaltyMax")
    answer = await ground.chain.call(ground.deployment.bonds, asked.encode())
    (cap,) = asked.decode_outputs(answer)
    if penalty_max > cap:
        raise StartRefused(f"auction.penalty_atoms_max is above {cap}, the contract's cap")


async def _check_cap(ground: Ground, uncovered_max: int) -> None:
    asked = SETTLEMENT.function("uncoveredCap")
    answer = await ground.chain.call(ground.deployment.settlement, asked.encode())
    (cap,) = asked.decode_outputs(answer)
    if uncovered_max > cap:
        raise StartRefused(f"market.uncovered_atoms_max is above {cap}, the contract's cap")
