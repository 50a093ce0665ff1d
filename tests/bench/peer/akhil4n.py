"""akhil4n-orderbook 0.1.1: plain Python over sorted levels."""

from tests.bench.engine import Engine
from tests.bench.peer.trade_log import log_engine


def engine(orders: int) -> Engine:
    """A book that knows up to `orders` orders."""
    return log_engine("orderbook", orders)
