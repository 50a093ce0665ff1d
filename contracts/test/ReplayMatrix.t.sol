// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.37;

import {IERC1271} from "@openzeppelin/contracts/interfaces/IERC1271.sol";
import {IEntryPoint, PackedUserOperation} from "@openzeppelin/contracts/interfaces/IERC4337.sol";
import {IClaims} from "../src/IClaims.sol";
import {IMetered} from "../src/IMetered.sol";
import {ISessionKeys} from "../src/ISessionKeys.sol";
import {SessionAccount} from "../src/SessionAccount.sol";
import {SessionAccountFactory} from "../src/SessionAccountFactory.sol";
import {AccountTest} from "./AccountTest.sol";
import {MeteredLine, MeteredRecord, MeteredTest} from "./MeteredTest.sol";

/// @title The replay matrix's receipts: {receipt, ERC-1271} × what a ledger can be shown twice
/// @dev README.md has the matrix, with the cells that stand in other files.
contract ReplayReceiptTest is MeteredTest {
    uint16 private constant WALLET = 4;

    /// @dev Of the buyer's key, like the buyer's own address.
    SessionAccount private wallet;

    function setUp() public override {
        super.setUp();
        wallet = _account(buyer);
        _join(address(wallet));
    }

    /// @dev A receipt names no entry point; an account behind another one is another account.
    function test_replay_receiptBehindOtherEntryPoint() public {
        SessionAccountFactory elsewhere = _factoryBehind(IEntryPoint(address(0x4338)), usdc);
        _join(elsewhere.createAccount(buyer.addr, 0));
        MeteredRecord memory record = _walletReceipt(_lines(3, 4));
        record.buyer = WALLET + 1;
        vm.assertEq(_meter(record), 0);
        _assertSkipped(IMetered.RecordProblem.BadSignature);
    }

    /// @dev What was signed before all was cancelled is void once the delay is over, whatever it says.
    function test_replay_receiptInOtherEpoch() public {
        MeteredRecord memory record = _receipt(BUYER, _lines(3, 4), buyer);
        vm.prank(buyer.addr);
        settlement.cancelAll();
        vm.warp(NOW + EXIT_DELAY);
        vm.assertEq(_meter(record), 0);
        _assertSkipped(IMetered.RecordProblem.BadSignature);
        record.flags = EPOCH_BEFORE;
        vm.assertEq(_meter(record), 0);
        _assertSkipped(IMetered.RecordProblem.EpochEnded);
    }

    /// @dev A batch has no room for the other s; a claim, which takes 65 bytes, refuses it.
    function test_replay_receiptWithHighS() public {
        MeteredLine[] memory lines = _lines(3, 4);
        IMetered.SpendReceipt memory receipt = _receiptOf(BUYER, lines);
        bytes memory signature = _signHighS(buyer, settlement.receiptDigest(receipt));
        bytes memory packed = _packed(lines);
        vm.expectRevert(abi.encodeWithSelector(IClaims.ClaimUnsigned.selector, buyer.addr));
        settlement.claimReceipt(receipt, packed, PLAIN, signature);
    }

    /// @dev What a contract says of a signature it says twice; the ledger counts the receipt once.
    function test_replay_erc1271Resubmitted() public {
        MeteredRecord memory record = _walletReceipt(_lines(3, 4));
        vm.assertEq(_meter(record), 7);
        vm.assertEq(_meter(record), 0);
        _assertSkipped(IMetered.RecordProblem.BadSignature);
        vm.assertEq(_spent(address(wallet)), 7);
    }

    /// @dev Of two receipts that a contract signed from one base the lower is dead after the higher.
    function test_replay_erc1271LowerCumulative() public {
        MeteredRecord memory lower = _walletReceipt(_lines(3));
        vm.assertEq(_meter(_walletReceipt(_lines(3, 4))), 7);
        vm.assertEq(_meter(lower), 0);
        _assertSkipped(IMetered.RecordProblem.BadSignature);
        vm.assertEq(_spent(address(wallet)), 7);
    }

    // ------------------------------------------------------------------ helpers

    function _join(address account) private {
        _fund(account, 100);
        listed.push(account);
        book = _deployBook(listed);
    }

    function _walletReceipt(MeteredLine[] memory lines)
        private
        view
        returns (MeteredRecord memory record)
    {
        record = _receipt(WALLET, lines, buyer);
        record.flags = CONTRACT;
    }
}

/// @title The rest of the matrix: {grant, user operation, ERC-1271} of an account
contract ReplayAccountTest is AccountTest {
    bytes32 private constant HASH = keccak256("any hash");
    bytes4 private constant NO = 0xffffffff;

    IEntryPoint private real;
    SessionAccount private twin;
    /// @dev The owner's signatures of HASH: as it is, and for `account` (ERC-7739).
    bytes private plain;
    bytes private personal;

    function setUp() public override {
        super.setUp();
        real = _deployEntryPoint("contracts");
        account = _accountBehind(real);
        SessionAccountFactory factory_ = _factoryBehind(real, usdc);
        twin = SessionAccount(payable(factory_.createAccount(owner.addr, "twin")));
        plain = _sign(owner, HASH);
        personal = _personalOf(account, owner);
    }

    // ------------------------------------------------------------------ cumulative

    /// @dev Of two grants that were signed at once, the one that comes second is void: neither the
    /// smaller nor the larger cap replaces the other.
    function test_replay_grantOfLowerSequence() public {
        ISessionKeys.Terms memory small = _terms(key);
        ISessionKeys.Terms memory large = _terms(key);
        large.cap = 2 * DOLLAR;
        bytes memory first = _sign(owner, _grantDigest(small));
        bytes memory second = _sign(owner, _grantDigest(large));
        account.grantSigned(small, 0, first);
        vm.expectPartialRevert(ISessionKeys.SessionGrantInvalid.selector);
        account.grantSigned(large, 0, second);
        vm.expectPartialRevert(ISessionKeys.SessionGrantInvalid.selector);
        account.grantSigned(large, 1, second);
        vm.assertEq(account.sessionOf(key.addr).cap, DOLLAR);
    }

    /// @dev After the next one of its lane an operation is void (the entry point counts).
    function test_replay_operationOfLowerSequence() public {
        _grantTerms(_termsWithFees(key));
        PackedUserOperation memory first = _signed(_spendOperation(account, key, 5), key);
        _handle(first);
        _handle(_signed(_spendOperation(account, key, 7), key));
        PackedUserOperation[] memory again = new PackedUserOperation[](1);
        again[0] = first;
        vm.expectPartialRevert(IEntryPoint.FailedOp.selector);
        vm.prank(BUNDLER, BUNDLER);
        real.handleOps(again, payable(BUNDLER));
        vm.assertEq(_paid(), 12);
    }

    // ------------------------------------------------------------------ ERC-1271

    function test_replay_erc1271IsGoodAtHome() public view {
        _assertAnswer(account, personal, IERC1271.isValidSignature.selector);
    }

    /// @dev Neither what is signed for one account counts at another of the same owner, nor what is
    /// signed for none.
    function test_replay_erc1271AtOtherAccount() public view {
        _assertAnswer(twin, personal, NO);
        _assertAnswer(twin, plain, NO);
    }

    function test_replay_erc1271OnOtherChain() public {
        vm.chainId(1);
        _assertAnswer(account, personal, NO);
        _assertAnswer(account, plain, NO);
    }

    /// @dev It names no entry point; an account behind another one is another account.
    function test_replay_erc1271BehindOtherEntryPoint() public {
        SessionAccount behind = _accountBehind(_deployEntryPoint("contracts-v09"));
        _assertAnswer(behind, personal, NO);
        _assertAnswer(behind, plain, NO);
    }

    /// @dev Only the owner signs for the account, so the epoch that ends is the owner's: what another
    /// one signed before is void. Sessions sign for it in no epoch.
    function test_replay_erc1271OfOtherEpoch() public {
        _grantTo(key);
        _assertAnswer(account, _personalOf(account, key), NO);
        vm.prank(owner.addr);
        account.changeOwner(abi.encodePacked(other.addr));
        _assertAnswer(account, personal, NO);
        _assertAnswer(account, _personalOf(account, other), IERC1271.isValidSignature.selector);
    }

    function test_replay_erc1271WithHighS() public view {
        _assertAnswer(account, _signHighS(owner, _personalHash(account)), NO);
    }

    // ------------------------------------------------------------------ helpers

    function _personalHash(SessionAccount at_) private view returns (bytes32) {
        return _digest(at_, keccak256(abi.encode(keccak256("PersonalSign(bytes prefixed)"), HASH)));
    }

    function _personalOf(SessionAccount at_, Party memory signer)
        private
        view
        returns (bytes memory)
    {
        return _sign(signer, _personalHash(at_));
    }

    function _assertAnswer(SessionAccount at_, bytes memory signature, bytes4 answer) private view {
        vm.assertEq(bytes32(at_.isValidSignature(HASH, signature)), bytes32(answer));
    }
}
