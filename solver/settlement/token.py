"""Whether an address holds a token that counts as the market does: asked before it is used."""

from typing import Final

from contracts.bindings import USDC
from contracts.deploy import ChainPort
from contracts.fault import WrongContract
from solver.settlement.fault import RequestRefused, TokenRefused

DECIMALS: Final = 6


async def check_token(port: ChainPort, address: str) -> None:
    """Raise TokenRefused unless a token with six decimals is there. Raises ChainUnreachable."""
    getter = USDC.function("decimals")
    try:
        (found,) = getter.decode_outputs(await port.call(address, getter.encode()))
    except (RequestRefused, WrongContract) as fault:
        raise TokenRefused(f"{address} is no token on this chain ({fault})") from fault
    if found != DECIMALS:
        raise TokenRefused(f"the token at {address} has {found} decimals, not {DECIMALS}")
