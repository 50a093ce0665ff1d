// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.37;

import {IAccountOwner} from "../src/IAccountOwner.sol";
import {IEscrow} from "../src/IEscrow.sol";
import {ISessionAccount} from "../src/ISessionAccount.sol";
import {ISessionKeys} from "../src/ISessionKeys.sol";
import {IVerified} from "../src/IVerified.sol";
import {AccountTest} from "./AccountTest.sol";
import {Batch, SettledIntent, SettledMandate, SettledOffer} from "./Batch.sol";

/// @title The most that a thief can take with the keys that no session test steals
/// @dev README.md has the table of all keys. The thief has an accomplice who sells, and signs whatever
/// offer it likes; so all that a buyer's documents allow is taken.
contract TheftTest is AccountTest {
    uint32 private constant VETO = 2 days;
    uint88 private constant CAP = 100;
    uint96 private constant FUNDS = 10_000;
    uint64 private constant MANY = 1e12;

    Party[3] private _guardians;
    Party private _accomplice;
    uint64 private _nonce;

    function setUp() public override {
        super.setUp();
        _accomplice = _party("accomplice");
        _fund(buyer.addr, FUNDS);
    }

    // ------------------------------------------------------------------ owner and root

    /// @dev The owner's key is the account: all of it, at once. Once another owner is named: nothing.
    function test_mostAThiefCanTake_withTheOwnersKey_isAllOfTheAccount() public {
        uint256 held = usdc.balanceOf(address(account));
        uint256 before = vm.snapshotState();
        _takeAsOwner(held);
        vm.assertEq(usdc.balanceOf(_accomplice.addr), held);
        vm.revertToState(before);
        vm.prank(owner.addr);
        account.changeOwner(abi.encodePacked(other.addr));
        vm.expectPartialRevert(IAccountOwner.SessionAccountUnauthorized.selector);
        _takeAsOwner(held);
        vm.assertEq(usdc.balanceOf(_accomplice.addr), 0);
    }

    /// @dev A plain address in the ledger is its key, which nobody can revoke: it takes all, but nothing
    /// before the exit delay is over, in which whoever has the key too can say no, again and again.
    function test_mostAThiefCanTake_withARootKey_isTheBalanceAfterTheDelay() public {
        vm.startPrank(buyer.addr);
        settlement.requestWithdrawal(FUNDS);
        vm.warp(NOW + EXIT_DELAY - 1);
        vm.expectPartialRevert(IEscrow.SettlementWithdrawalEarly.selector);
        settlement.withdraw(_accomplice.addr);
        uint256 before = vm.snapshotState();
        settlement.cancelWithdrawal();
        vm.warp(NOW + 2 * EXIT_DELAY);
        vm.expectPartialRevert(IEscrow.SettlementNoWithdrawal.selector);
        settlement.withdraw(_accomplice.addr);
        vm.revertToState(before);
        vm.warp(NOW + EXIT_DELAY);
        settlement.withdraw(_accomplice.addr);
        vm.stopPrank();
        vm.assertEq(usdc.balanceOf(_accomplice.addr), FUNDS);
    }

    // ------------------------------------------------------------------ guardians

    /// @dev Fewer guardians than the set asks for start nothing: neither now nor after any delay, nor
    /// with a signature counted twice. Once the owner names other guardians, all of them are nobody.
    function test_mostAThiefCanTake_withAMinorityOfGuardians_isNothing() public {
        bytes memory set = _withGuardians();
        bytes memory signer = abi.encodePacked(_accomplice.addr);
        bytes memory one = _approval(set, signer, 0, 0);
        bytes memory twice = _approval(set, signer, 1, 1);
        bytes memory two = _approval(set, signer, 0, 1);
        for (uint256 i = 0; i < 3; ++i) {
            _refuses(set, signer, one);
            _refuses(set, signer, twice);
            vm.expectPartialRevert(IAccountOwner.RecoveryNotReady.selector);
            account.finishRecovery(signer);
            vm.warp(block.timestamp + VETO);
        }
        vm.prank(owner.addr);
        account.setGuardian(abi.encodePacked(other.addr), VETO);
        _refuses(set, signer, two);
        vm.assertEq(account.owner(), owner.addr);
        vm.assertEq(usdc.balanceOf(address(account)), 1000 * DOLLAR);
    }

    // ------------------------------------------------------------------ the operator

    /// @dev The operator's session key settles to the accomplice what buyers have signed, and not more
    /// than its cap of that in any period; none of the operator's own money moves. Once it is revoked:
    /// nothing.
    function test_mostAThiefCanTake_withTheOperatorsKey_isItsCapOfWhatWasSigned() public {
        usdc.mint(address(operator), DOLLAR);
        Party memory stolen = _party("stolen");
        _grant(operator, operatorOwner, stolen, SETTLE, CAP);
        // The buyer has signed up to 200 atoms for 100 units.
        vm.assertEq(_settleAs(stolen, _theft(30)), 60);
        vm.assertEq(_settleAs(stolen, _theft(20)), 40);
        bytes memory more = _theft(1);
        _expectRefused(stolen, more, ISessionKeys.SessionCapExceeded.selector);
        vm.prank(stolen.addr);
        vm.expectPartialRevert(ISessionKeys.SessionNotLive.selector);
        operator.spend(_accomplice.addr, 1);
        bytes memory data = abi.encodeCall(IEscrow.withdraw, (_accomplice.addr));
        vm.prank(stolen.addr);
        vm.expectPartialRevert(ISessionAccount.SessionCallForbidden.selector);
        operator.callSettlement(data);
        vm.prank(operatorOwner.addr);
        operator.revokeSession(stolen.addr);
        vm.warp(NOW + 200 * uint256(DAY));
        _expectRefused(stolen, more, ISessionKeys.SessionNotLive.selector);
        vm.assertEq(_balance(_accomplice.addr), CAP);
        vm.assertEq(_balance(buyer.addr), FUNDS - CAP);
        vm.assertEq(usdc.balanceOf(address(operator)), DOLLAR);
    }

    /// @dev Without a cap in the way it is what was signed, once: no unit above the intent's, and no
    /// atom above the limit.
    function test_mostAThiefCanTake_withAnUncappedOperatorsKey_isWhatWasSigned() public {
        for (uint64 units = 128; units != 0; units /= 2) {
            _settleAs(operatorKey, _theft(units));
        }
        vm.assertEq(_balance(_accomplice.addr), 200);
        vm.assertEq(_balance(buyer.addr), FUNDS - 200);
    }

    // ------------------------------------------------------------------ a mandate's secret

    /// @dev Whoever has the secret of a mandate buys under it, here with the operator's help: its limit
    /// in all, at no more than its price, of its resource. Once it is cancelled and the delay is over:
    /// nothing.
    function test_mostAThiefCanTake_withAMandatesSecret_isItsLimit() public {
        SettledMandate memory mandate = _signed(_mandate(buyer.addr, 7, 300), buyer);
        _stealByMandate(mandate, 10, 21);
        vm.assertEq(_balance(_accomplice.addr), 0, "above the mandate's price");
        _stealByMandate(mandate, 60, 120);
        vm.prank(buyer.addr);
        settlement.cancel(7);
        _stealByMandate(mandate, 50, 100);
        vm.assertEq(_balance(_accomplice.addr), 220, "what the delay leaves");
        uint256 before = vm.snapshotState();
        for (uint96 payment = 256; payment != 0; payment /= 2) {
            _stealByMandate(mandate, uint64(payment / 2), payment);
        }
        vm.assertGe(_balance(_accomplice.addr), 298, "more could have been taken");
        vm.assertLe(_balance(_accomplice.addr), 300, "more than the limit");
        vm.revertToState(before);
        vm.warp(NOW + EXIT_DELAY);
        _stealByMandate(mandate, 1, 2);
        vm.assertEq(_balance(_accomplice.addr), 220);
    }

    // ------------------------------------------------------------------ the thief

    function _takeAsOwner(uint256 amount) private {
        bytes memory data = abi.encodeCall(usdc.transfer, (_accomplice.addr, amount));
        vm.prank(owner.addr);
        account.execute(address(usdc), 0, data);
    }

    /// @dev The accomplice sells anything for nothing, so that only the buyer's side decides.
    function _anyOffer() private returns (SettledOffer memory) {
        return _signed(_offer(_accomplice.addr, ++_nonce << 2, MANY, 0), _accomplice);
    }

    /// @dev The next batch: so many units of the buyer's one intent, at its limit.
    function _theft(uint64 units) private returns (bytes memory) {
        SettledOffer memory offer = _anyOffer();
        bytes32 fill = keccak256(abi.encode(_nonce));
        SettledIntent memory intent = _intentOf(1, _line(0, units, units, 2 * units, fill));
        bytes memory batch = Batch.encode(_list(offer), _list(intent));
        return abi.encodeCall(IVerified.settle, (batchNumber++, keccak256("batch"), batch));
    }

    function _settleAs(Party memory by, bytes memory data) private returns (uint256) {
        vm.prank(by.addr);
        return abi.decode(operator.callSettlement(data), (uint256));
    }

    function _expectRefused(Party memory by, bytes memory data, bytes4 reason) private {
        vm.expectPartialRevert(reason);
        vm.prank(by.addr);
        operator.callSettlement(data);
    }

    function _stealByMandate(SettledMandate memory mandate, uint64 units, uint96 payment) private {
        mandate.lines = _list(_line(0, units, units, payment, keccak256(abi.encode(_nonce))));
        _settle(_anyOffer(), mandate);
    }

    // ------------------------------------------------------------------ guardians

    function _withGuardians() private returns (bytes memory set) {
        bytes[] memory signers = new bytes[](3);
        uint64[] memory weights = new uint64[](3);
        for (uint256 i = 0; i < 3; ++i) {
            _guardians[i] = _party(string(abi.encode("guardian", i)));
            signers[i] = abi.encodePacked(_guardians[i].addr);
            weights[i] = 1;
        }
        set = abi.encodePacked(_deploy("GuardianSet", abi.encode(signers, weights, 2)));
        vm.prank(owner.addr);
        account.setGuardian(set, VETO);
    }

    /// @dev Of two guardians, or of one where both are the same.
    function _approval(bytes memory set, bytes memory signer, uint256 first, uint256 second)
        private
        view
        returns (bytes memory)
    {
        (,, uint64 nonce,,) = account.recoveryOf();
        bytes32 recovery = keccak256(
            abi.encode(
                keccak256("AccountRecovery(bytes signer,uint64 nonce)"), keccak256(signer), nonce
            )
        );
        bytes32 digest = keccak256(
            abi.encodePacked(
                hex"1901",
                _domainOf("KeyfillGuardians", address(bytes20(set))),
                keccak256(
                    abi.encode(
                        keccak256("PersonalSign(bytes prefixed)"), _digest(account, recovery)
                    )
                )
            )
        );
        uint256 count = first == 0 && second == 0 ? 1 : 2;
        bytes[] memory signers = new bytes[](count);
        bytes[] memory signatures = new bytes[](count);
        for (uint256 i = 0; i < count; ++i) {
            Party memory guardian = _guardians[i == 0 ? first : second];
            signers[i] = abi.encodePacked(guardian.addr);
            signatures[i] = _sign65(guardian, digest);
        }
        return abi.encode(signers, signatures);
    }

    function _refuses(bytes memory set, bytes memory signer, bytes memory signature) private {
        vm.expectRevert(IAccountOwner.RecoveryNotSigned.selector);
        account.startRecovery(set, signer, signature);
    }
}
