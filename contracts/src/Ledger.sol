// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.37;

import {IERC1271} from "@openzeppelin/contracts/interfaces/IERC1271.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {AccountWord} from "./AccountWord.sol";
import {BoundedCall} from "./BoundedCall.sol";
import {ILedger} from "./ILedger.sol";
import {MarketTypes} from "./MarketTypes.sol";
import {SessionCharges} from "./SessionCharges.sol";
import {SignatureRecovery} from "./SignatureRecovery.sol";

/// @title What every way to settle shares: the words of accounts, and who signs for them
abstract contract Ledger is ILedger, SessionCharges, EIP712, ReentrancyGuardTransient {
    using AccountWord for uint256;

    /// @dev A reference to it is hashed once for reading and writing.
    struct Account {
        uint256 word;
    }

    uint256 internal constant AUTHORITY_PLAIN = 0;
    uint256 internal constant AUTHORITY_CONTRACT = 1;
    uint256 internal constant AUTHORITY_SESSION = 2;

    /// @dev Gas with which a contract account is asked; the most that a hostile one can waste.
    uint256 internal constant AUTHORITY_GAS = 200_000;

    /// @dev No longer can anyone's money be held; it also keeps all times within 40 bits.
    uint40 private constant EXIT_DELAY_MAX = 30 days;

    /// @dev With this much left, a call gets its full AUTHORITY_GAS: 63/64 of what remains after
    /// a cold account access and the preparation of the call.
    uint256 private constant AUTHORITY_GAS_REQUIRED = AUTHORITY_GAS * 64 / 63 + 20_000;

    IERC20 internal immutable _TOKEN;
    address public immutable operator;
    uint40 public immutable exitDelay;

    mapping(address account => Account) internal _accounts;
    mapping(address account => uint256 exit) internal _exits;
    /// @dev Keyed by UnitLanes.keyOf(account, nonce): one hash instead of a nested mapping's two.
    mapping(uint256 key => uint256 word) internal _lanes;
    mapping(address account => mapping(uint64 nonce => uint256)) internal _cancelledAt;

    modifier onlyOperator() {
        require(msg.sender == operator, SettlementCallerNotOperator(msg.sender));
        _;
    }

    constructor(IERC20 token, address operator_, uint40 exitDelay_)
        EIP712(MarketTypes.DOMAIN_NAME, MarketTypes.DOMAIN_VERSION)
    {
        require(address(token) != address(0) && operator_ != address(0), SettlementZeroAddress());
        require(exitDelay_ <= EXIT_DELAY_MAX, SettlementExitDelayInvalid(exitDelay_));
        _TOKEN = token;
        operator = operator_;
        exitDelay = exitDelay_;
    }

    /// @inheritdoc ILedger
    function asset() external view returns (address) {
        return address(_TOKEN);
    }

    /// @inheritdoc SessionCharges
    function _sessionEpochOf(address account) internal view override returns (uint24) {
        return _accounts[account].word.sessionEpochOf();
    }

    /// @inheritdoc SessionCharges
    function _sessionGraceS() internal view override returns (uint256) {
        return exitDelay;
    }

    /// @dev Whether `epoch` is the one before the account's and still settles.
    function _isEpochEnding(address account, uint256 epoch, uint256 current)
        internal
        view
        returns (bool)
    {
        return epoch + 1 == current && block.timestamp < _exits[account].epochEffectiveAtOf();
    }

    /// @dev Plain and ERC-1271 signatures; any other authority is a bad signature.
    function _isSigned(address account, uint256 authority, bytes32 digest, bytes calldata signature)
        internal
        view
        returns (bool)
    {
        if (authority == AUTHORITY_PLAIN) {
            address signer = SignatureRecovery.recover(digest, signature);
            return signer == account && signer != address(0);
        }
        return authority == AUTHORITY_CONTRACT && _isSignedByContract(account, digest, signature);
    }

    function _isSignedByContract(address account, bytes32 digest, bytes calldata signature)
        internal
        view
        returns (bool)
    {
        bytes memory question = abi.encodeCall(IERC1271.isValidSignature, (digest, signature));
        _requireAuthorityGas();
        return
            BoundedCall.answers(
                account, AUTHORITY_GAS, question, IERC1271.isValidSignature.selector
            );
    }

    /// @dev Otherwise a transaction with too little gas would skip good fills and still succeed, and
    /// a gas estimate would find exactly that amount. To be asked when the question is in memory: a signature
    /// of 60 kB alone costs more to put there than what is left over here.
    function _requireAuthorityGas() internal view {
        require(gasleft() >= AUTHORITY_GAS_REQUIRED, BatchGasTooLow(gasleft()));
    }
}
