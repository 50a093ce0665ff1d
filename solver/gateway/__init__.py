"""The market over HTTP and WebSocket. See README.md."""

from solver.gateway.app import create_app
from solver.gateway.limit import Limits
from solver.gateway.port import (
    ContractSignatures,
    Contributed,
    Custody,
    KeyHealth,
    ProviderInfo,
    ProxyAnswer,
    ProxyRequest,
)
from solver.gateway.server import serve

__all__ = [
    "ContractSignatures",
    "Contributed",
    "Custody",
    "KeyHealth",
    "Limits",
    "ProviderInfo",
    "ProxyAnswer",
    "ProxyRequest",
    "create_app",
    "serve",
]
