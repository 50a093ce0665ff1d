"""What the chain says of our transactions, once a pass, as of one block.

What `latest` is may change from one answer to the next, also in one request: our nonce would
be used and our batch not settled. So the newest block is asked for first, and all else of it.

A mined transaction is told by the sender's nonce and by what the contract has settled, and
by nothing else: a receipt may be stale, of a block that is gone, or a lie, and so it only
explains what these two already say.
"""

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from contracts.bindings import SETTLEMENT
from contracts.deploy import Deployment
from solver.core.state import State
from solver.settlement import ask
from solver.settlement.ask import Ask, Block
from solver.settlement.chain import ChainClient
from solver.settlement.fault import ChainForked, ChainUnreachable, RequestRefused

_IS_SETTLED: Final = SETTLEMENT.function("isBatchSettled")
_ROOT_SETTLED_AT: Final = SETTLEMENT.function("rootSettledAt")


class View(msgspec.Struct, frozen=True, kw_only=True):
    """The chain at the start of a pass. Nonces count transactions of our key."""

    head: Block
    final: Block
    nonce: int
    """Mined."""
    nonce_final: int
    """Mined for good."""
    nonce_pending: int
    """Mined, or next in line in the pool."""
    settled: frozenset[int]
    """The numbers that the contract has, of those that were asked for."""


async def look(
    chain: ChainClient, deployment: Deployment, sender: str, state: State, numbers: Iterable[int]
) -> View:
    """See where everything stands, on the chain that the core knows.

    Raises:
        ChainMismatch: the node serves another chain by now.
        ChainForked: it serves another history: the core's cursor is not in it.
        ChainUnreachable: no answer, one that contradicts itself, or the node is behind.
    """
    numbers = tuple(numbers)
    cursor, cursor_hash = state.cursor, state.cursor_hash
    where: list[Ask[Any]] = [
        ask.chain_id(),
        ask.block(max(cursor, 0)),
        ask.known_block("finalized"),
        ask.known_block("latest"),
    ]
    chain_id, known, final, head = await chain.read_all(where)
    chain.check_chain_id(chain_id)
    if cursor >= 0:
        _check_cursor(known, cursor, cursor_hash)
    what: list[Ask[Any]] = [
        ask.nonce(sender, final.number),
        ask.nonce(sender, head.number),
        ask.nonce(sender, "pending"),
        *(_is_settled(deployment.settlement, state, number, head.number) for number in numbers),
    ]
    try:
        nonce_final, nonce, nonce_pending, *settled = await chain.read_all(what)
    except RequestRefused as fault:
        raise ChainUnreachable(f"the node told block {head.number} and nothing of it") from fault
    if final.number > head.number or nonce_final > nonce:
        raise ChainUnreachable(
            f"final block {final.number} with nonce {nonce_final}, newest {head.number}"
            f" with nonce {nonce}: the node contradicts itself"
        )
    return View(
        head=head,
        final=final,
        nonce=nonce,
        nonce_final=nonce_final,
        nonce_pending=max(nonce, nonce_pending),
        settled=frozenset(number for number, found in zip(numbers, settled, strict=True) if found),
    )


def _is_settled(settlement: str, state: State, number: int, at: int) -> Ask[bool]:
    """Whether the contract has a batch; a metered one has a number of its own there, and a root."""
    batch = state.batches.get(number)
    function, call = _IS_SETTLED, _IS_SETTLED.encode(number)
    if batch is not None and batch.records:
        function = _ROOT_SETTLED_AT
        call = function.encode(batch.root_number, bytes.fromhex(batch.digest[2:]))
    asked = ask.call(settlement, call, at=at)

    def read(answer: Any) -> bool:  # noqa: ANN401  whatever JSON says
        (found,) = ask.decoded(function, asked.read(answer))
        return bool(found)

    return Ask(asked.method, asked.params, read)


def _check_cursor(block: Block | None, cursor: int, cursor_hash: str) -> None:
    if block is None:
        raise ChainUnreachable(f"the node does not have block {cursor}, which was final")
    if block.hash != cursor_hash:
        raise ChainForked(f"block {cursor} was {cursor_hash} when it was final, not {block.hash}")
