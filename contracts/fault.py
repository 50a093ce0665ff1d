"""What can go wrong between Python and the contracts.

ContractsFault
├── ArtifactFault       the committed ABI and this code do not fit each other
├── AnvilFault          no local chain
│   ├── AnvilMissing    no `anvil` of the version that was tested
│   └── AnvilFailed     it did not start, or not as a fresh chain
└── DeploymentFault     the chain does not hold what was asked for
    ├── WrongChain      another chain id
    ├── WrongContract   no code, or not our code, where a contract should be
    └── DeployReverted  a transaction of the deployment failed
"""


class ContractsFault(Exception):
    """The root of this folder's failures."""


class ArtifactFault(ContractsFault):
    """An artifact is missing, or lacks what the bindings need."""


class AnvilFault(ContractsFault):
    """The local chain is not there."""


class AnvilMissing(AnvilFault):
    """No executable was found."""


class AnvilFailed(AnvilFault):
    """It ended, did not say where it listens, or refused a call that gave `revert` back."""

    def __init__(self, message: str, revert: bytes = b"") -> None:
        super().__init__(message)
        self.revert = revert


class DeploymentFault(ContractsFault):
    """Refuse to start: the deployment is not what it should be."""


class WrongChain(DeploymentFault):
    """The node serves another chain."""


class WrongContract(DeploymentFault):
    """The address holds no code, or a contract that names other partners."""


class DeployReverted(DeploymentFault):
    """A deploying transaction was mined and failed."""
