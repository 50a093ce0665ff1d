// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Permit.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {AccountWord} from "./AccountWord.sol";
import {Arrival} from "./Arrival.sol";
import {Claims} from "./Claims.sol";
import {IEscrow} from "./IEscrow.sol";
import {UnitLanes} from "./UnitLanes.sol";

/// @title The escrow of {IEscrow}, from which what is claimed does not leave
abstract contract Escrow is Claims, IEscrow {
    using SafeERC20 for IERC20;
    using Arrival for IERC20;
    using AccountWord for uint256;
    using UnitLanes for uint256;

    // ------------------------------------------------------------------ money in

    /// @inheritdoc IEscrow
    function deposit(address account, uint256 amount) external nonReentrant {
        _depositFromCaller(account, amount);
    }

    /// @inheritdoc IEscrow
    function depositWithPermit(
        address account,
        uint256 amount,
        uint256 deadline,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external nonReentrant {
        // A permit that someone else sent first fails here, but has left the allowance.
        try IERC20Permit(address(_TOKEN))
            .permit(msg.sender, address(this), amount, deadline, v, r, s) {}
            catch {}
        _depositFromCaller(account, amount);
    }

    /// @inheritdoc IEscrow
    function depositWithAuthorization(
        address from,
        address account,
        uint256 amount,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 salt,
        bytes calldata signature
    ) external nonReentrant {
        bytes32 nonce = authorizationNonce(account, salt);
        (uint256 arrived, uint256 held) =
            _TOKEN.byAuthorization(from, amount, validAfter, validBefore, nonce, signature);
        _credit(account, from, arrived, held);
    }

    // ------------------------------------------------------------------ money out

    /// @inheritdoc IEscrow
    function requestWithdrawal(uint256 amount) external nonReentrant returns (uint256 availableAt) {
        require(amount != 0, SettlementAmountZero());
        availableAt = block.timestamp + exitDelay;
        // The cast is safe: no balance exceeds it, and asking for more means everything.
        uint72 requested = uint72(Math.min(amount, AccountWord.BALANCE_MAX));
        _exits[msg.sender] = _exits[msg.sender].withWithdrawal(requested, uint40(availableAt));
        emit WithdrawalRequested(msg.sender, requested, availableAt);
    }

    /// @inheritdoc IEscrow
    function cancelWithdrawal() external nonReentrant {
        uint256 exit = _exits[msg.sender];
        require(exit.withdrawingOf() != 0, SettlementNoWithdrawal(msg.sender));
        _exits[msg.sender] = exit.withWithdrawal(0, 0);
        emit WithdrawalCancelled(msg.sender);
    }

    /// @inheritdoc IEscrow
    function withdraw(address to) external nonReentrant returns (uint256 amount) {
        require(to != address(0) && to != address(this), SettlementRecipientInvalid(to));
        uint256 exit = _exits[msg.sender];
        require(exit.withdrawingOf() != 0, SettlementNoWithdrawal(msg.sender));
        uint256 availableAt = exit.withdrawableAtOf();
        require(block.timestamp >= availableAt, SettlementWithdrawalEarly(availableAt));
        uint256 account = _accounts[msg.sender].word;
        uint256 free = Math.saturatingSub(account.balanceOf(), _claimedOf(msg.sender, account));
        amount = Math.min(exit.withdrawingOf(), free);
        _exits[msg.sender] = exit.withWithdrawal(0, 0);
        _accounts[msg.sender].word = account - amount;
        emit Withdrawn(msg.sender, to, amount);
        _TOKEN.safeTransfer(to, amount);
    }

    // ------------------------------------------------------------------ cancellation

    /// @inheritdoc IEscrow
    function cancel(uint64 nonce) external nonReentrant returns (uint256 effectiveAt) {
        uint256 key = UnitLanes.keyOf(msg.sender, nonce);
        uint256 word = _lanes[key];
        // A second cancellation must not move the first one's time.
        require(!word.isFlagged(nonce), SettlementAlreadyCancelled(nonce));
        effectiveAt = block.timestamp + exitDelay;
        _lanes[key] = word.flag(nonce);
        _cancelledAt[msg.sender][nonce] = effectiveAt;
        emit Cancelled(msg.sender, nonce, effectiveAt);
    }

    /// @inheritdoc IEscrow
    function cancelAll() external nonReentrant returns (uint32 epoch, uint256 effectiveAt) {
        uint256 exit = _exits[msg.sender];
        uint256 pendingUntil = exit.epochEffectiveAtOf();
        // Only one earlier epoch is remembered: it must be over before the next one ends.
        require(block.timestamp >= pendingUntil, SettlementEpochPending(pendingUntil));
        uint256 account = _accounts[msg.sender].word.withNextEpoch();
        epoch = account.epochOf();
        effectiveAt = block.timestamp + exitDelay;
        _accounts[msg.sender].word = account;
        _exits[msg.sender] = exit.withEpochEffectiveAt(uint40(effectiveAt));
        emit EpochBumped(msg.sender, epoch, effectiveAt);
    }

    // ------------------------------------------------------------------ views

    /// @inheritdoc IEscrow
    function accountOf(address account)
        external
        view
        nonReentrantView
        returns (AccountView memory)
    {
        uint256 word = _accounts[account].word;
        uint256 exit = _exits[account];
        uint32 epoch = word.epochOf();
        bool isPending = block.timestamp < exit.epochEffectiveAtOf();
        return AccountView({
            balance: word.balanceOf(),
            withdrawing: exit.withdrawingOf(),
            withdrawableAt: exit.withdrawableAtOf(),
            epoch: epoch,
            epochEffectiveAt: exit.epochEffectiveAtOf(),
            epochSettleable: isPending ? epoch - 1 : epoch
        });
    }

    /// @inheritdoc IEscrow
    function settledUnits(address account, uint64 nonce)
        external
        view
        nonReentrantView
        returns (uint256)
    {
        return _lanes[UnitLanes.keyOf(account, nonce)].unitsOf(nonce);
    }

    /// @inheritdoc IEscrow
    function cancelledAt(address account, uint64 nonce) external view returns (uint256) {
        return _cancelledAt[account][nonce];
    }

    /// @inheritdoc IEscrow
    function authorizationNonce(address account, bytes32 salt) public pure returns (bytes32) {
        return Arrival.nonceOf(account, salt);
    }

    // ------------------------------------------------------------------ private: money in

    function _depositFromCaller(address account, uint256 amount) private {
        (uint256 arrived, uint256 held) = _TOKEN.fromCaller(amount);
        _credit(account, msg.sender, arrived, held);
    }

    /// @dev Credits what really arrived. Because all that is held fits 72 bits here, and balances
    /// add up to at most what is held, no later sum of balances can overflow 72 bits either.
    function _credit(address account, address from, uint256 amount, uint256 held) private {
        require(account != address(0), SettlementZeroAddress());
        require(held <= AccountWord.BALANCE_MAX, SettlementBalanceOverflow(held));
        require(amount != 0, SettlementAmountZero());
        uint256 word = _accounts[account].word + amount;
        _accounts[account].word = word;
        emit Deposited(account, from, amount, word.balanceOf());
    }
}
