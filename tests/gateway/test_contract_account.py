"""An account that is a contract (EIP-1271): what it bought it can use, and nobody else."""

import pytest

from solver.client import Rejected
from solver.core.fact import Deposited
from solver.core.state import MAY_CANCEL
from tests.builder import alice, bob, carol, key_granted
from tests.gateway.world import DOCS, RICH, World

SAFE = "0x" + "5afe" * 10


async def test_a_contract_account_buys_calls_cancels_and_sees_its_balance(world: World) -> None:
    """All that an account's key may do, a signature that its contract accepts may."""
    await world.offering(bob, units=5)
    await world.chain(Deposited(account=SAFE, amount=RICH))
    world.contracts.valid.add(SAFE)
    safe = world.agent(alice, account=SAFE)
    assert (await safe.balance()).usdc.available == RICH
    bought = await safe.intent(DOCS, units=2, limit=100)
    assert (await bought.call("GET", "/docs")).status == 200
    await bought.done()
    resting = await safe.intent(DOCS, units=2, limit=1)
    await resting.cancel()
    assert (await resting.refresh()).status == "cancelled"


async def test_what_the_contract_does_not_accept_gets_nothing(world: World) -> None:
    """A stranger's signature is not_authorized, and costs one question to the chain."""
    with pytest.raises(Rejected) as caught:
        await world.agent(carol, account=SAFE).balance()
    assert (caught.value.code, world.contracts.asked) == ("not_authorized", 1)


async def test_a_known_session_key_is_never_asked_of_the_chain(world: World) -> None:
    """A session key without the permission is refused without a question to the chain."""
    world.contracts.valid.add(SAFE)
    await world.chain(
        key_granted(
            world.sequencer.market.state,
            SAFE,
            carol.address,
            permissions=MAY_CANCEL,
            expires_at=world.sequencer.now_ms() // 1_000 + 600,
            cap=RICH,
        )
    )
    header = world.header(carol, "POST", "/v1/leases/end", b"{}", account=SAFE)
    status, told, _ = await world.raw("POST", "/v1/leases/end", b"{}", Keyfill_Request=header)
    assert (status, told["code"], world.contracts.asked) == (403, "not_authorized", 0)


@pytest.mark.parametrize("fault", ["breaking", "hanging"])
async def test_a_chain_that_fails_is_busy_for_requests_too(world: World, fault: str) -> None:
    """A node that errs or hangs holds nobody up, and proves nothing."""
    world.contracts.valid.add(SAFE)
    setattr(world.contracts, fault, ConnectionError("node") if fault == "breaking" else True)
    header = world.header(alice, "GET", "/v1/balance", account=SAFE)
    status, told, _ = await world.raw("GET", "/v1/balance", Keyfill_Request=header)
    assert (status, told["code"]) == (429, "busy")


async def test_a_request_is_good_once_however_long_the_chain_takes(world: World) -> None:
    """A contract's request is used up like any; one that expired meanwhile is refused."""
    world.contracts.valid.add(SAFE)
    header = world.header(alice, "GET", "/v1/balance", account=SAFE)
    told = [await world.raw("GET", "/v1/balance", Keyfill_Request=header) for _ in range(2)]
    assert [status for status, _, _ in told] == [200, 409]

    async def late(*_: str) -> bool:
        world.clock.ahead_ms += 120_000
        return True

    world.contracts.is_valid = late  # type: ignore[assignment]
    header = world.header(alice, "GET", "/v1/balance", account=SAFE)
    _, refused, _ = await world.raw("GET", "/v1/balance", Keyfill_Request=header)
    assert refused["code"] == "expired"
