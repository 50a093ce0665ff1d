"""What anyone may read of the market, and what an account may read of itself."""

from itertools import islice

from intents.bulk import HEIGHT_MAX, tree_type
from intents.bundle import HEIGHT_MAX as BUNDLE_HEIGHT_MAX
from intents.bundle import TERM_FIELDS
from intents.document import SIGNED
from intents.reject import RejectCode, reject
from intents.typed_data import DOMAIN_NAME, DOMAIN_VERSION, FIELDS
from solver.core.award import award_id
from solver.core.state import CREDIT
from solver.gateway.auction_page import auction_told
from solver.gateway.auth import LIFETIME_SECONDS_MAX
from solver.gateway.competition import AuctionsTold
from solver.gateway.gateway import Answer, Inbound
from solver.gateway.view import (
    auction_summary_told,
    balance_told,
    batch_told,
    book_told,
    solvers_told,
    unlisted,
)
from solver.gateway.wire import (
    AfterQuery,
    AssetsTold,
    BatchesTold,
    BookQuery,
    ChainTold,
    DomainTold,
    FieldTold,
    HealthTold,
    MarketTold,
    Nothing,
    PageQuery,
    ProvidersTold,
    ResourceTold,
    SigningTold,
)

NOTES = (
    "A limit is a total: k delivered units never cost more than floor(k * limit / units).",
    "Sign addresses of any case; the market tells them in lower case.",
    "Nonces are chosen by you, below 2**53, and used once per account.",
    "A request's target is path and query as sent; bodyHash is keccak256 of the body's bytes.",
    "Send it as Keyfill-Request: base64url of JSON {account, nonce, expiresAt, signature}.",
    "A bulk is a tree of nested pairs: its leaves are the intents, in the order they are sent in.",
    "A bundle's legs are such a tree too.",
    "Fill it up with intents whose every field is zero, empty or false; sign these, send them not.",
)


async def healthz(inbound: Inbound[Nothing, Nothing]) -> Answer:
    """The server answers, and says what troubles it."""
    alarms = tuple(inbound.gateway.alarms())
    return HealthTold(status="degraded" if alarms else "ok", alarms=alarms)


async def signing(inbound: Inbound[Nothing, Nothing]) -> Answer:
    """What to sign, and for which domain."""
    domain = inbound.gateway.rules.domain
    return SigningTold(
        domain=DomainTold(
            name=DOMAIN_NAME,
            version=DOMAIN_VERSION,
            chain_id=domain.chain_id,
            verifying_contract=domain.verifying_contract,
        ),
        types={
            document.__name__: tuple(
                FieldTold(name=wire, type=kind) for _, wire, kind in FIELDS[document]
            )
            for document in SIGNED
        },
        bulk_types={
            str(height): (FieldTold(name="tree", type=tree_type(height)),)
            for height in range(1, HEIGHT_MAX + 1)
        },
        bundle_types={
            str(height): tuple(
                FieldTold(name=name, type=kind)
                for name, kind in (*TERM_FIELDS, ("legs", tree_type(height)))
            )
            for height in range(1, BUNDLE_HEIGHT_MAX + 1)
        },
        assets=AssetsTold(usdc=inbound.gateway.state.usdc, credit=CREDIT),
        award_signer=inbound.gateway.awards.address,
        request_seconds_max=LIFETIME_SECONDS_MAX,
        notes=NOTES,
    )


async def market(inbound: Inbound[Nothing, Nothing]) -> Answer:
    """The market now."""
    state = inbound.gateway.state
    return MarketTold(
        time_ms=inbound.gateway.now_ms(),
        resources=tuple(
            ResourceTold(resource=resource, mode=mode)
            for resource, mode in sorted(state.resources.items())
        ),
        chain=ChainTold(cursor=state.cursor, block_hash=state.cursor_hash),
        batches=state.batch_next,
        feed=inbound.gateway.feed.seq,
        metered_max=state.metered_max,
    )


async def providers(inbound: Inbound[Nothing, Nothing]) -> Answer:
    """Whose keys are taken, and on which terms."""
    return ProvidersTold(providers=tuple(inbound.gateway.custody.providers()))


async def book(inbound: Inbound[Nothing, BookQuery]) -> Answer:
    """The best levels of a book. Rejects: resource_unknown, asset_unknown."""
    query, gateway = inbound.query, inbound.gateway
    asset = query.asset or gateway.state.usdc
    if query.resource not in gateway.state.resources:
        return unlisted(query.resource)
    if asset not in gateway.rules.assets:
        return reject(
            RejectCode.ASSET_UNKNOWN,
            f"{asset} is not traded",
            hint="GET /v1/eip712 has the assets.",
        )
    return book_told(gateway.state, query.resource, asset, query.depth)


async def batches(inbound: Inbound[Nothing, PageQuery]) -> Answer:
    """The newest batches."""
    newest = islice(reversed(inbound.gateway.state.batches.values()), inbound.query.limit)
    return BatchesTold(batches=tuple(map(batch_told, newest)))


async def batch(inbound: Inbound[Nothing, Nothing]) -> Answer:
    """One batch. Rejects: batch_unknown."""
    found = inbound.gateway.state.batches.get(int(inbound.path("number")))
    if found is None:
        return reject(RejectCode.BATCH_UNKNOWN, "never cut, or no longer kept")
    return batch_told(found)


async def auctions(inbound: Inbound[Nothing, PageQuery]) -> Answer:
    """The newest auctions."""
    newest = islice(reversed(inbound.gateway.state.auctions.values()), inbound.query.limit)
    return AuctionsTold(auctions=tuple(map(auction_summary_told, newest)))


async def auction(inbound: Inbound[Nothing, AfterQuery]) -> Answer:
    """A page of one auction's record. Rejects: auction_unknown."""
    found = inbound.gateway.state.auctions.get(int(inbound.path("number")))
    if found is None:
        return reject(RejectCode.AUCTION_UNKNOWN, "never opened, or no longer kept")
    state, signer = inbound.gateway.state, inbound.gateway.awards
    names = [award_id(found.snapshot.auction, won.solver) for won in found.winners]
    awards = [state.awards[name] for name in names if name in state.awards]
    return auction_told(found, awards, signer.signed, inbound.query.after)


async def solvers(inbound: Inbound[Nothing, PageQuery]) -> Answer:
    """How solvers deliver what they win with offers of their own."""
    return solvers_told(inbound.gateway.state, inbound.gateway.now_ms(), inbound.query.limit)


async def balance(inbound: Inbound[Nothing, Nothing]) -> Answer:
    """The caller's own account."""
    return balance_told(inbound.gateway.state, inbound.caller.account)
