"""Custody of API keys, and the proxy through which they are used.

Plaintext keys exist in this package only. See README.md for what it promises.
"""

from solver.vault.answer import Answer
from solver.vault.catalogue import Catalogue, load_catalogue
from solver.vault.delivery import Delivery, StartedCall
from solver.vault.egress import Egress
from solver.vault.fault import EgressFault, VaultFault
from solver.vault.health import Health
from solver.vault.operation import CallRequest
from solver.vault.proxy import Proxy
from solver.vault.seal import KeyWrapper, LocalKeyWrapper
from solver.vault.secret import Secret
from solver.vault.selection import Candidate, least_recently_used, round_robin
from solver.vault.sharing import refuse_sharing
from solver.vault.store import KeyStore
from solver.vault.template import Provider, Resource, Sharing
from solver.vault.vault import Contributed, Vault

__all__ = [
    "Answer",
    "CallRequest",
    "Candidate",
    "Catalogue",
    "Contributed",
    "Delivery",
    "Egress",
    "EgressFault",
    "Health",
    "KeyStore",
    "KeyWrapper",
    "LocalKeyWrapper",
    "Provider",
    "Proxy",
    "Resource",
    "Secret",
    "Sharing",
    "StartedCall",
    "Vault",
    "VaultFault",
    "least_recently_used",
    "load_catalogue",
    "refuse_sharing",
    "round_robin",
]
