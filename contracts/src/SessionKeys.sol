// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.37;

import {ERC4337Utils} from "@openzeppelin/contracts/account/utils/ERC4337Utils.sol";
import {PackedUserOperation} from "@openzeppelin/contracts/interfaces/IERC4337.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {CapWord} from "./CapWord.sol";
import {ISessionKeys} from "./ISessionKeys.sol";
import {SignatureRecovery} from "./SignatureRecovery.sol";

/// @title Sessions of any number of accounts, one storage word each
/// @dev The account keeps its own here, the module those of every account that installed it. A key's
/// word has its sequence where {CapWord} has a team.
abstract contract SessionKeys is EIP712, ISessionKeys {
    using CapWord for uint256;

    uint8 internal constant PERMISSION_SETTLE = 1;
    uint8 internal constant PERMISSION_CANCEL = 4;
    uint8 internal constant PERMISSION_SPEND = 8;
    uint8 internal constant ONLY_LISTED = 16;
    uint8 internal constant PERMISSIONS_ALL = 29;

    /// @dev Of the head, which every call asks for: epoch of the sessions u24 | two flags | the rest for
    /// whoever inherits, from the lowest bit.
    uint256 private constant ACCOUNT_CAPPED = 1 << 24;
    uint256 private constant PAYEES_LISTED = 1 << 25;

    bytes32 private constant GRANT_TYPEHASH = keccak256(
        "AccountGrant(address account,address key,uint8 permissions,uint40 expiresAt,uint88 cap,uint32 period,address paymaster,uint64 feeMax,uint32 operationsMax,uint24 epoch,uint16 sequence)"
    );
    bytes32 private constant ORDER_TYPEHASH = keccak256(
        "AccountOrder(address account,address key,address to,uint256 amount,uint16 sequence,uint64 nonce,uint40 deadline)"
    );

    // What a word is of. The account's own cap is that of the account as a payee, which it never is.
    uint256 private constant KEY = 0;
    uint256 private constant NONCE = 1;
    uint256 private constant FEES = 2;
    uint256 private constant CAP = 3;
    uint256 private constant HEAD = 4;

    uint256 private constant FEE_MAX_SHIFT = 160;
    uint256 private constant OPERATIONS_MAX_SHIFT = 224;
    uint256 private constant PAYMASTER_DATA_OFFSET = 52;

    IERC20 internal immutable TOKEN;

    constructor(IERC20 token) {
        TOKEN = token;
    }

    // ------------------------------------------------------------------ grants

    /// @dev What the key has spent stays. What it signed as an order is void: the sequence goes on.
    function _grant(address account, Terms memory terms) internal {
        address key = terms.key;
        require(key != address(0) && key != account, SessionKeyInvalid(key));
        require(
            terms.permissions & ~ONLY_LISTED != 0 && terms.permissions & ~PERMISSIONS_ALL == 0,
            SessionPermissionsInvalid(terms.permissions)
        );
        require(
            terms.expiresAt > block.timestamp && terms.expiresAt <= type(uint32).max,
            SessionExpiryInvalid(terms.expiresAt)
        );
        require(terms.period != 0, CapWord.CapPeriodInvalid(0));
        bytes32 slot = _slotOf(KEY, key, account);
        uint256 word = _at(slot);
        // Whoever reaches the end was granted and revoked two thousand times: take another key.
        uint16 sequence = word.teamOf();
        require(sequence < CapWord.TEAM_MAX, SessionKeyInvalid(key));
        uint24 epoch = uint24(_headOf(account));
        word = _withCap(word, terms.cap, terms.period);
        word = word.withSession(uint32(terms.expiresAt), epoch, terms.permissions, sequence + 1);
        _put(slot, word);
        slot = _slotOf(FEES, key, account);
        uint256 fees = uint160(terms.paymaster) | uint256(terms.feeMax) << FEE_MAX_SHIFT
            | uint256(terms.operationsMax) << OPERATIONS_MAX_SHIFT;
        if (fees != _at(slot)) _put(slot, fees);
    }

    /// @return digest that the account's owner signs to grant `terms`, once, in this epoch
    function _grantDigest(address account, Terms memory terms, uint16 sequence)
        internal
        view
        returns (bytes32 digest)
    {
        uint24 epoch = uint24(_headOf(account));
        return
            _hashTypedDataV4(keccak256(abi.encode(GRANT_TYPEHASH, account, terms, epoch, sequence)));
    }

    /// @dev Never refused: a key at the end of its sequence stays there, and gets no grant any more.
    function _revoke(address account, address key) internal {
        bytes32 slot = _slotOf(KEY, key, account);
        uint256 word = _at(slot);
        uint16 sequence = word.teamOf();
        if (sequence < CapWord.TEAM_MAX) ++sequence;
        _put(slot, word.withSession(0, 0, 0, sequence));
    }

    /// @dev Every grant names the epoch before.
    function _revokeAll(address account) internal returns (uint24 epoch) {
        uint256 head = _headOf(account);
        // Checked: it ends after sixteen million times.
        epoch = uint24(head) + 1;
        _setHead(account, head + 1);
    }

    /// @dev The replacement must never have had a session, and takes over all that the key's word says:
    /// terms, and what was spent.
    /// @param operations that the key has sent: the replacement may send the rest
    function _rotate(address account, address key, address replacement, uint256 operations)
        internal
    {
        require(_isLive(account, key, 0), SessionNotLive(key));
        bytes32 slot = _slotOf(KEY, replacement, account);
        require(
            replacement != address(0) && replacement != account && _at(slot) == 0,
            SessionKeyInvalid(replacement)
        );
        _put(slot, _at(_slotOf(KEY, key, account)).withTeam(1));
        uint256 fees = _at(_slotOf(FEES, key, account));
        if (fees != 0) {
            uint256 left = fees >> OPERATIONS_MAX_SHIFT;
            left = operations < left ? left - operations : 0;
            _put(_slotOf(FEES, replacement, account), uint224(fees) | left << OPERATIONS_MAX_SHIFT);
        }
        _revoke(account, key);
    }

    /// @dev A period of zero lifts the cap; what was spent is remembered.
    /// @param bearer a payee, or the account itself
    function _setCap(address account, address bearer, uint256 cap, uint256 period) internal {
        bytes32 slot = _slotOf(CAP, bearer, account);
        _put(slot, _withCap(_at(slot), cap, period));
        uint256 head = _headOf(account);
        if (bearer != account) head |= PAYEES_LISTED;
        else if (period != 0) head |= ACCOUNT_CAPPED;
        else head &= ~ACCOUNT_CAPPED;
        _setHead(account, head);
    }

    // ------------------------------------------------------------------ use

    /// @dev Counts what really left the account, which is at least the amount. The charge comes after
    /// the transfer: what a token might call meanwhile is charged for itself, and then again as a part
    /// of this one; and if anything is refused, nothing has happened.
    function _spend(address account, address key, address to, uint256 amount) internal {
        uint256 head = _headOf(account);
        bytes32 slot = _slotOf(KEY, key, account);
        uint256 word = _at(slot);
        require(
            _isGranted(head, word, PERMISSION_SPEND) && block.timestamp <= word.expiresAtOf(),
            SessionNotLive(key)
        );
        require(amount != 0, SessionAmountZero());
        require(to != account, SessionPayeeInvalid(to));
        uint256 before = TOKEN.balanceOf(account);
        _transfer(account, to, amount);
        uint256 left = TOKEN.balanceOf(account);
        require(before >= left && before - left >= amount, SessionSpendIncomplete(amount));
        // Unchecked: compared a line above.
        unchecked {
            amount = before - left;
        }
        _chargeAt(slot, key, amount);
        if (head & ACCOUNT_CAPPED != 0) {
            _chargeAt(_slotOf(CAP, account, account), account, amount);
        }
        bool onlyListed = word.permissionsOf() & ONLY_LISTED != 0;
        if (!onlyListed && head & PAYEES_LISTED == 0) return;
        slot = _slotOf(CAP, to, account);
        require(!onlyListed || _at(slot).isCapped(), SessionPayeeInvalid(to));
        _chargeAt(slot, to, amount);
    }

    /// @dev The key and, if it has a cap, the account. Words are read here and not earlier: a batch
    /// that the key settles may contain a document that the same key signed.
    function _charge(address account, address key, uint256 amount) internal {
        _chargeAt(_slotOf(KEY, key, account), key, amount);
        if (_headOf(account) & ACCOUNT_CAPPED != 0) {
            _chargeAt(_slotOf(CAP, account, account), account, amount);
        }
    }

    /// @dev The sequence names the life in which the key signed: whatever ends that ends its orders.
    function _takeOrder(address account, Order calldata order, bytes calldata signature) internal {
        address key = order.key;
        bytes32 slot = _slotOf(NONCE, key, account);
        uint256 nonce = _at(slot);
        bytes32 hash = keccak256(
            abi.encode(
                ORDER_TYPEHASH,
                account,
                key,
                order.to,
                order.amount,
                _sequenceOf(account, key),
                nonce,
                order.deadline
            )
        );
        require(
            nonce == order.nonce && block.timestamp <= order.deadline && key != address(0)
                && SignatureRecovery.recover(_hashTypedDataV4(hash), signature) == key,
            SessionOrderInvalid(key)
        );
        _put(slot, nonce + 1);
    }

    /// @dev All that can be known of a user operation without a clock: the grant, the life of the key, who
    /// pays how much at most, how many came before, and the signature. Time and caps wait for execution.
    /// @param life of the key for which the operation was made
    /// @param sequence of the operation in its lane, which is the key's own in this life
    function _validateSession(
        address account,
        address key,
        uint256 life,
        uint256 sequence,
        uint8 permissions,
        PackedUserOperation calldata userOp,
        bytes32 userOpHash,
        bytes calldata signature
    ) internal view returns (uint256) {
        uint256 word = _at(_slotOf(KEY, key, account));
        if (
            !_isGranted(_headOf(account), word, permissions) || word.teamOf() != life
                || !_paysAtMost(_at(_slotOf(FEES, key, account)), sequence, userOp)
                || SignatureRecovery.recover(userOpHash, signature) != key
        ) return ERC4337Utils.SIG_VALIDATION_FAILED;
        return ERC4337Utils.packValidationData(true, 0, word.expiresAtOf());
    }

    /// @dev Makes the account transfer, and nothing else.
    function _transfer(address account, address to, uint256 amount) internal virtual;

    function _setHead(address account, uint256 head) internal {
        _put(_slotOf(HEAD, address(0), account), head);
    }

    // ------------------------------------------------------------------ views

    function _headOf(address account) internal view returns (uint256) {
        return _at(_slotOf(HEAD, address(0), account));
    }

    function _isLive(address account, address key, uint8 permissions) internal view returns (bool) {
        uint256 word = _at(_slotOf(KEY, key, account));
        return
            _isGranted(_headOf(account), word, permissions) && block.timestamp <= word.expiresAtOf();
    }

    function _sequenceOf(address account, address key) internal view returns (uint16) {
        return _at(_slotOf(KEY, key, account)).teamOf();
    }

    function _sessionOf(address account, address key)
        internal
        view
        returns (Session memory session)
    {
        uint256 word = _at(_slotOf(KEY, key, account));
        session.expiresAt = word.expiresAtOf();
        session.epoch = word.sessionEpochOf();
        session.permissions = word.permissionsOf();
        session.cap = uint88(word.capOf());
        session.spent = uint88(word.spentOf(block.timestamp));
        session.period = uint32(word.periodOf());
        session.sequence = word.teamOf();
        session.orderNonce = uint64(_at(_slotOf(NONCE, key, account)));
        word = _at(_slotOf(FEES, key, account));
        session.paymaster = address(uint160(word));
        session.feeMax = uint64(word >> FEE_MAX_SHIFT);
        session.operationsMax = uint32(word >> OPERATIONS_MAX_SHIFT);
    }

    function _capOf(address account, address bearer)
        internal
        view
        returns (uint256 cap, uint256 period, uint256 left)
    {
        uint256 word = _at(_slotOf(CAP, bearer, account));
        left = word.leftOf(block.timestamp);
        if (word.isCapped()) (cap, period) = (word.capOf(), word.periodOf());
    }

    // ------------------------------------------------------------------ private

    /// @dev An `if`: what a `require` names is worked out even when nothing is wrong.
    function _chargeAt(bytes32 slot, address bearer, uint256 amount) private {
        uint256 word = _at(slot);
        (bool isWithin, uint256 charged) = word.charge(amount, block.timestamp);
        if (!isWithin) {
            revert SessionCapExceeded(bearer, amount, word.leftOf(block.timestamp));
        }
        if (charged != word) _put(slot, charged);
    }

    /// @dev Without time: what validation may ask (ERC-7562 has no clock).
    function _isGranted(uint256 head, uint256 word, uint8 permissions) private pure returns (bool) {
        uint8 granted = word.permissionsOf();
        return granted != 0 && granted & permissions == permissions
            && word.sessionEpochOf() == uint24(head);
    }

    function _withCap(uint256 word, uint256 cap, uint256 period) private view returns (uint256) {
        return period == 0 ? word.withoutCap() : word.withCap(cap, period, block.timestamp);
    }

    /// @dev The most that the entry point can take, from the account or from the one paymaster that the
    /// grant names. Together the key's operations cost at most `operationsMax` times `feeMax`.
    function _paysAtMost(uint256 fees, uint256 sequence, PackedUserOperation calldata userOp)
        private
        pure
        returns (bool)
    {
        bytes calldata sponsor = userOp.paymasterAndData;
        address paymaster = sponsor.length == 0 ? address(0) : address(bytes20(sponsor));
        if (paymaster != address(uint160(fees))) return false;
        if (sequence >= fees >> OPERATIONS_MAX_SHIFT) return false;
        uint256 gasMax = userOp.preVerificationGas;
        uint256 price = uint128(uint256(userOp.gasFees));
        // Nothing below overflows: a sum of less than 131 bits, times 64.
        if (gasMax > type(uint120).max || price > type(uint64).max) return false;
        uint256 limits = uint256(userOp.accountGasLimits);
        gasMax += (limits >> 128) + uint128(limits);
        if (sponsor.length >= PAYMASTER_DATA_OFFSET) {
            gasMax += uint256(uint128(bytes16(sponsor[20:36]))) + uint128(bytes16(sponsor[36:52]));
        }
        return gasMax * price <= uint64(fees >> FEE_MAX_SHIFT);
    }

    function _at(bytes32 slot) private view returns (uint256 word) {
        assembly ("memory-safe") {
            word := sload(slot)
        }
    }

    function _put(bytes32 slot, uint256 word) private {
        assembly ("memory-safe") {
            sstore(slot, word)
        }
    }

    /// @dev keccak256(account ‖ keccak256(kind, subject ‖ keyfill.sessions)), where a mapping of mappings
    /// at the ERC-7201 slot of that name has it. The account comes last, so that validation may read the
    /// words of a module too (ERC-7562: keccak256(A ‖ x)).
    function _slotOf(uint256 kind, address subject, address account)
        private
        pure
        returns (bytes32 slot)
    {
        // Never; but the optimiser would otherwise copy this to two dozen places, for 2,000 bytes.
        if (kind > HEAD) return _slotOf(HEAD, subject, account);
        // Memory-safe: only the scratch space 0x00-0x3f is written.
        assembly ("memory-safe") {
            mstore(0x00, or(shl(160, kind), shr(96, shl(96, subject))))
            // keccak256(abi.encode(uint256(keccak256("keyfill.sessions")) - 1)) & ~0xff
            mstore(0x20, 0xcabc50a60ec3023d01d3aef619bb50d56228780867504bcc204d953acac24100)
            mstore(0x20, keccak256(0x00, 0x40))
            mstore(0x00, shr(96, shl(96, account)))
            slot := keccak256(0x00, 0x40)
        }
    }
}
