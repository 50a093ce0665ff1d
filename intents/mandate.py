"""Whether an intent stays within the mandate that it names.

Time and state are the core's: whether the mandate has begun, ended or is used up.
"""

from intents.document import Intent, Mandate
from intents.reject import Reject, RejectCode, reject
from intents.rounding import bid_tick


def terms_fault(mandate: Mandate, intent: Intent) -> Reject | None:
    """What of the intent the mandate does not cover. Rejects: mandate_terms.

    The intent's own price may not exceed the mandate's: the chain holds every fill to
    `tick_max`, so one that the intent allows and the mandate does not could not settle.
    """
    if intent.account != mandate.account:
        return reject(RejectCode.MANDATE_TERMS, "the mandate is another account's")
    if mandate.resource not in ("", intent.resource):
        return reject(RejectCode.MANDATE_TERMS, f"the mandate is for {mandate.resource}")
    if intent.asset != mandate.asset:
        return reject(RejectCode.MANDATE_TERMS, f"the mandate pays in {mandate.asset}")
    if bid_tick(intent.limit, intent.units) > mandate.tick_max:
        return reject(
            RejectCode.MANDATE_TERMS,
            f"a price of {bid_tick(intent.limit, intent.units)}; the mandate goes to"
            f" {mandate.tick_max}",
        )
    if intent.valid_until > mandate.valid_until:
        return reject(RejectCode.MANDATE_TERMS, f"the mandate ends at {mandate.valid_until}")
    return None
