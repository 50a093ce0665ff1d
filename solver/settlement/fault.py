"""What can go wrong between the market and its chain.

SettlementFault
├── ChainUnreachable          no usable answer in time: try again later, nothing is known
├── ChainMismatch             another chain than the one we settle on: stop (P8)
│   └── ChainForked           the block that our cursor names is not there any more
├── RangeTooLarge             the node refuses to give that many logs at once
├── RequestRefused            the node understood and said no
│   ├── CallReverted          a simulated call failed, with the contract's words
│   └── TransactionRefused    a transaction did not enter the pool
│       ├── AlreadyKnown      it is in the pool or mined
│       ├── NonceTooLow       its nonce was used, by it or by another
│       ├── Underpriced       the fees are too low to enter or to replace
│       └── FundsTooLow       the sender cannot pay for gas
├── OutboxFault               the outbox cannot be used
│   ├── OutboxForeign         it belongs to another chain, sender or batch
│   └── OutboxWriteFailed     the disk did not take what has to be there before sending
├── TokenRefused              what should be settled is no token, or counts otherwise
├── SessionRefused            our key may not settle: wrong key file, or never granted
└── BatchTooLarge             a batch does not fit a transaction
"""


class SettlementFault(Exception):
    """The root of this adapter's failures."""


class ChainUnreachable(SettlementFault):
    """Nothing is known about whether a request was carried out."""


class ChainMismatch(SettlementFault):
    """The node serves another chain."""


class ChainForked(ChainMismatch):
    """Finalised blocks changed: a deep reorganisation, or a restarted local chain."""


class RangeTooLarge(SettlementFault):
    """Ask for fewer blocks."""


class RequestRefused(SettlementFault):
    """A JSON-RPC error that repeating does not cure."""


class CallReverted(RequestRefused):
    """A simulated call reverted; `reason` is decoded from `data`."""

    def __init__(self, reason: str, data: bytes = b"") -> None:
        super().__init__(reason)
        self.reason = reason
        self.data = data


class TransactionRefused(RequestRefused):
    """The node did not take a transaction."""


class AlreadyKnown(TransactionRefused):
    """It took it before."""


class NonceTooLow(TransactionRefused):
    """The nonce is mined."""


class Underpriced(TransactionRefused):
    """The fees do not suffice."""


class FundsTooLow(TransactionRefused):
    """The sender's balance does not cover gas and value."""


class OutboxFault(SettlementFault):
    """The outbox is unusable."""


class OutboxForeign(OutboxFault):
    """It was made for something else."""


class OutboxWriteFailed(OutboxFault):
    """Nothing may be sent that is not stored."""


class TokenRefused(SettlementFault):
    """The address holds no token with our decimals."""


class SessionRefused(SettlementFault):
    """The operator's account does not let this key settle."""


class BatchTooLarge(SettlementFault):
    """No transaction can carry it."""
