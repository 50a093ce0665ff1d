"""What can go wrong in the vault's environment.

    VaultFault
    ├── KeyFileFault          the key-encryption key cannot be used
    ├── SealFault             a sealed key does not open: wrong place, wrong key, tampered
    ├── StoreFault            the key store's database failed
    ├── CatalogueFault        a provider file is wrong (names file and field)
    └── EgressFault           the way to the upstream
        ├── DestinationForbidden   an address that egress never connects to
        ├── UpstreamUnreachable    no connection: nothing was sent
        ├── UpstreamTimeout        sent, and no answer in time: nobody knows
        ├── UpstreamBroken         sent, and the connection or the protocol broke
        ├── ResponseRefused        an answer in an encoding that cannot be scrubbed
        └── AnswerCut              our own bound on size or time ended an answer

No message holds a key, a header or a body. Third-party exceptions are mapped and then
dropped, never chained: their frames hold request headers.
"""


class VaultFault(Exception):
    """Anything below. `hint` says in one line what an operator can do."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(f"{message} ({hint})" if hint else message)
        self.hint = hint


class KeyFileFault(VaultFault):
    """The key-encryption key is missing, malformed or readable by others."""


class SealFault(VaultFault):
    """A sealed key does not open here. Fatal for this use; there is no fallback."""


class StoreFault(VaultFault):
    """The key store's database failed."""


class CatalogueFault(VaultFault):
    """A provider file is wrong."""


class EgressFault(VaultFault):
    """The way to the upstream failed."""


class DestinationForbidden(EgressFault):
    """The name or literal leads to an address that egress never connects to."""


class UpstreamUnreachable(EgressFault):
    """No connection came about; the request was not sent."""


class UpstreamTimeout(EgressFault):
    """The request was sent and no answer came in time; nobody knows what happened."""


class UpstreamBroken(EgressFault):
    """The request was sent and the connection or the protocol broke."""


class ResponseRefused(EgressFault):
    """An answer in an encoding that cannot be undone, and so not scrubbed."""


class AnswerCut(EgressFault):
    """Our own bound on size or time ended an answer that was still coming."""
