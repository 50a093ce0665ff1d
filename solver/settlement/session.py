"""What is left of the operator's session: known at the start, so that it is renewed in time."""

import msgspec

from contracts.bindings import ACCOUNT
from contracts.deploy import MAY_SETTLE, ChainPort, Deployment


class SessionLeft(msgspec.Struct, frozen=True, kw_only=True):
    """How long, in Unix seconds, and for how many atoms a key may still settle.

    `spent` survives every new grant: one that should last for n atoms has a cap of
    `spent + n`.
    """

    expires_at: int
    cap_left: int
    spent: int

    def lasts(self, until: int, atoms: int) -> bool:
        """Whether it is live until then and pays at least so much."""
        return self.expires_at >= until and self.cap_left >= atoms


async def session_left(port: ChainPort, deployment: Deployment, key: str) -> SessionLeft:
    """Ask the operator's account, now; nothing is left of a session that is not live.

    Raises ChainUnreachable, WrongContract.
    """
    account = deployment.operator_account
    held, live = ACCOUNT.function("sessionOf"), ACCOUNT.function("isSessionLive")
    answer = await port.call(account, held.encode(key))
    ((expires_at, _, _, cap, spent, *_),) = held.decode_outputs(answer)
    answer = await port.call(account, live.encode(key, MAY_SETTLE))
    if live.decode_outputs(answer) != (True,):
        return SessionLeft(expires_at=0, cap_left=0, spent=spent)
    return SessionLeft(expires_at=expires_at, cap_left=max(0, cap - spent), spent=spent)
