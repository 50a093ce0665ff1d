"""akhil4n-orderbook 0.1.1: plain Python over sorted levels."""

from tests.bench.engine import Engine
from tests.bench.flow import Flow
from tests.bench.peer.trade_log import log_engine


def engine(flow: Flow) -> Engine:
    """A book for this flow."""
    return log_engine("orderbook", flow)
