"""Bodies of what takes many intents at once: see `wire`, whose rules hold here too."""

from typing import Annotated, Literal

from msgspec import Meta

from intents.document import Hash
from solver.core.command import Authority
from solver.gateway.wire import Counter, Sent, Told


class IntakeHead(Sent, frozen=True, kw_only=True):
    """The first line of a message on the intake socket; the rest is the body it describes.

    `take` says which route's body follows: `intent` POST /v1/intents, `batch` …/batch, `bulk`
    …/bulk, `mandated` POST /v1/mandates/{digest}/intents, which needs the last three fields.
    """

    id: Counter
    take: Literal["intent", "batch", "bulk", "mandated"]
    mandate: Hash | None = None
    counter: Counter | None = None
    mac: Annotated[str, Meta(pattern="^[0-9a-f]{64}$", max_length=64)] | None = None


class OutcomeTold(Told, frozen=True, kw_only=True, omit_defaults=True):
    """What became of one intent of many: 201 and its digest, or why it was refused.

    `status` is what the intent would have got by itself.
    """

    status: int
    digest: str = ""
    code: str = ""
    message: str = ""
    hint: str = ""
    retry_after_ms: int | None = None


class OutcomesTold(Told, frozen=True, kw_only=True):
    """What became of each intent, in the order in which they were sent."""

    outcomes: tuple[OutcomeTold, ...]


class IntakeTold(Told, frozen=True, kw_only=True):
    """The answer to the message of this id on the intake socket."""

    id: int
    outcomes: tuple[OutcomeTold, ...]


class IntakeRefused(Told, frozen=True, kw_only=True):
    """A message on the intake socket was refused as a whole. `id` is 0 where none was read."""

    id: int
    code: str
    message: str
    hint: str
    retry_after_ms: int | None = None


class MandateTold(Told, frozen=True, kw_only=True):
    """A mandate and how far it is used. `committed`: what is open or not settled may cost."""

    digest: str
    account: str
    resource: str
    asset: str
    tick_max: int
    limit: int
    valid_from: int
    valid_until: int
    epoch: int
    nonce: int
    signer: str
    authority: Authority
    live: bool
    spent: int
    committed: int


class MandateSecretTold(Told, frozen=True, kw_only=True):
    """A mandate, and the secret (hex) that authenticates intents under it. Keep it."""

    mandate: MandateTold
    secret: str

    def __repr__(self) -> str:
        return f"MandateSecretTold(mandate={self.mandate.digest})"
