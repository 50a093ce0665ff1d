"""How patient the submitter is, and how generous."""

import msgspec


class SubmitPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """Counts of blocks and passes, and sums of wei. All are bounds."""

    interval_ms: int = 500
    bump_after_blocks: int = 3
    """A transaction that is next in line and still not mined after this many is replaced."""
    bumps_max: int = 12
    """1.125¹² is about four times the first fee."""
    max_fee_wei: int = 500 * 10**9
    """No version pays more per gas than this."""
    in_flight_max: int = 8
    """Most batches that are signed and not mined. Nodes keep 16 or more for a sender."""
    doubts_max: int = 3
    """A contradiction is told when it was seen in so many passes on end."""
    unheard_blocks: int = 64
    """A batch that was settled for good so many final blocks ago should be known to the core."""
    refused_retry_ms: int = 1_000
    """Wait before a refused batch is simulated again; doubles up to 64 times this."""
