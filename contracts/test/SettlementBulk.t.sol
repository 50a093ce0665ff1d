// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.37;

import {BatchReader} from "../src/BatchReader.sol";
import {BulkTree} from "../src/BulkTree.sol";
import {IVerified} from "../src/IVerified.sol";
import {SessionAccount} from "../src/SessionAccount.sol";
import {Batch, SettledIntent, SettledOffer} from "./Batch.sol";
import {Bulk} from "./Bulk.sol";
import {MarketTest} from "./MarketTest.sol";

/// @title Intents that one signature covers, each proven alone, and proofs that prove nothing
contract SettlementBulkTest is MarketTest {
    Party internal agent;
    SessionAccount internal wallet;

    function setUp() public override {
        super.setUp();
        agent = _party("agent");
        wallet = _account(buyer);
        _fund(buyer.addr, 1000);
        _fund(address(wallet), 1000);
    }

    // ------------------------------------------------------------------ what settles

    function testFuzz_settle_acceptsAnyOfABulk(uint256 count, uint256 index) public {
        count = _bound(count, 1, 40);
        index = _bound(index, 0, count - 1);
        _settle(_offerOf(1), _bulk(buyer.addr, count, PLAIN, buyer)[index]);
        _assertSettled(bytes32(index + 1));
    }

    function test_settle_acceptsAllOfABulk() public {
        _settle(_list(_offerOf(1)), _bulk(buyer.addr, 20, PLAIN, buyer));
        _assertSettledAll(20);
        vm.assertEq(_balance(buyer.addr), 980);
        for (uint64 nonce = 0; nonce < 20; ++nonce) {
            vm.assertEq(settlement.settledUnits(buyer.addr, nonce), 1);
        }
    }

    function test_settle_acceptsBothEncodings() public {
        SettledIntent[] memory intents = _bulk(buyer.addr, 3, PLAIN, buyer);
        bytes32[] memory leaves = Bulk.leavesOf(intents, address(usdc));
        bytes memory full = _sign65(buyer, Bulk.digestOf(intents, settlement));
        intents[2].signature = bytes.concat(Bulk.proofOf(leaves, 2), full);
        _settle(_offerOf(1), intents[2]);
        _assertSettled(bytes32(uint256(3)));
    }

    /// @dev Those that stand together carry the signature once.
    function test_settle_takesTheSignatureOfTheIntentBefore() public {
        _settle(_list(_offerOf(1)), _shortened(_bulk(buyer.addr, 4, PLAIN, buyer)));
        _assertSettledAll(4);
    }

    /// @dev Even where the one before was skipped without a look at its signature.
    function test_settle_takesTheSignatureOfASkippedIntent() public {
        SettledIntent[] memory intents = new SettledIntent[](2);
        (intents[0], intents[1]) = (_plain(buyer.addr, 0, PLAIN), _plain(buyer.addr, 1, PLAIN));
        intents[0].validUntil = NOW - EXIT_DELAY - 1;
        _settle(_list(_offerOf(1)), _shortened(_bulkSigned(intents, buyer)));
        _assertSkipped(bytes32(uint256(1)), IVerified.SkipReason.Expired);
        _assertSettled(bytes32(uint256(2)));
    }

    function test_settle_acceptsOwnersBulkOfAccount() public {
        _settle(_list(_offerOf(1)), _bulk(address(wallet), 5, CONTRACT, buyer));
        _assertSettledAll(5);
    }

    /// @dev Each is charged when it settles; the cap bounds them together.
    function test_settle_chargesSessionForEach() public {
        _enable(address(wallet), agent, 3);
        _settle(_list(_offerOf(1)), _shortened(_bulk(address(wallet), 5, SESSION, agent)));
        _assertSettledAll(3);
        _assertSkipped(bytes32(uint256(4)), IVerified.SkipReason.SessionRefused);
        _assertSkipped(bytes32(uint256(5)), IVerified.SkipReason.SessionRefused);
        vm.assertEq(_charged(address(wallet), agent), 3);
    }

    function test_settle_skipsBulkOfRevokedSession() public {
        _enable(address(wallet), agent, 1000);
        _disable(address(wallet), agent);
        _settle(_list(_offerOf(1)), _bulk(address(wallet), 2, SESSION, agent));
        _assertSkipped(bytes32(uint256(1)), IVerified.SkipReason.SessionRefused);
        _assertSkipped(bytes32(uint256(2)), IVerified.SkipReason.SessionRefused);
    }

    /// @dev What an account is found to have signed, it has signed for the whole batch.
    function test_settle_looksAtASignatureOnce() public {
        SettledIntent[] memory intents = _bulk(buyer.addr, 3, PLAIN, buyer);
        intents[1].signature[100] ^= 0x01;
        _settle(_list(_offerOf(1)), intents);
        _assertSettledAll(3);
        SettledIntent memory alone = _bulk(buyer.addr, 8, PLAIN, buyer)[4];
        alone.signature[100] ^= 0x01;
        _settle(_offerOf(1), alone);
        _assertSkipped(bytes32(uint256(5)), IVerified.SkipReason.BadSignature);
    }

    // ------------------------------------------------------------------ what does not

    function test_settle_skipsWrongProof() public {
        SettledIntent[] memory intents = _bulk(buyer.addr, 4, PLAIN, buyer);
        intents[0].signature[20] ^= 0x01;
        intents[1].signature[2 + 32] ^= 0x80;
        _settle(_list(_offerOf(1)), intents);
        _assertSkipped(bytes32(uint256(1)), IVerified.SkipReason.BadSignature);
        _assertSkipped(bytes32(uint256(2)), IVerified.SkipReason.BadSignature);
        _assertSettled(bytes32(uint256(3)));
    }

    function testFuzz_settle_skipsWrongIndex(uint16 index) public {
        SettledIntent[] memory intents = _bulk(buyer.addr, 8, PLAIN, buyer);
        index = uint16(_bound(index, 0, 7));
        vm.assume(index != 5);
        intents[5].signature[1] = bytes1(uint8(index));
        _settle(_offerOf(1), intents[5]);
        _assertSkipped(bytes32(uint256(6)), IVerified.SkipReason.BadSignature);
    }

    function test_settle_skipsProofOfAnotherTree() public {
        SettledIntent[] memory intents = _bulk(buyer.addr, 4, PLAIN, buyer);
        SettledIntent[] memory others = new SettledIntent[](4);
        for (uint64 i = 0; i < 4; ++i) {
            others[i] = _plain(buyer.addr, 100 + i, PLAIN);
        }
        others = _bulkSigned(others, buyer);
        intents[1].signature = others[1].signature;
        _settle(_offerOf(1), intents[1]);
        _assertSkipped(bytes32(uint256(2)), IVerified.SkipReason.BadSignature);
    }

    /// @dev A lower or a higher tree is another type, whatever its nodes.
    function test_settle_skipsOtherHeight() public {
        SettledIntent memory intent = _bulk(buyer.addr, 4, PLAIN, buyer)[0];
        bytes32[] memory leaves = Bulk.leavesOf(_bulk(buyer.addr, 4, PLAIN, buyer), address(usdc));
        bytes32 root = Bulk.rootOf(leaves);
        // Signed as a tree of height 3 with the root of one of height 2.
        bytes memory signature = _sign(buyer, Bulk.digestOf(root, 3, settlement));
        intent.signature = bytes.concat(Bulk.proofOf(leaves, 0), signature);
        _settle(_offerOf(1), intent);
        _assertSkipped(bytes32(uint256(1)), IVerified.SkipReason.BadSignature);
    }

    function test_settle_skipsBulkSignatureAsPlain() public {
        SettledIntent[] memory intents = new SettledIntent[](1);
        intents[0] = _plain(buyer.addr, 0, PLAIN);
        intents[0].signature = _sign(buyer, Bulk.digestOf(intents, settlement));
        _settle(_offerOf(1), intents[0]);
        _assertSkipped(bytes32(uint256(1)), IVerified.SkipReason.BadSignature);
    }

    function test_settle_skipsPlainSignatureAsBulk() public {
        SettledIntent[] memory intents = _bulk(buyer.addr, 1, PLAIN, buyer);
        bytes32[] memory leaves = Bulk.leavesOf(intents, address(usdc));
        bytes memory signature = _sign(buyer, Batch.digestOf(intents[0], settlement));
        intents[0].signature = bytes.concat(Bulk.proofOf(leaves, 0), signature);
        _settle(_offerOf(1), intents[0]);
        _assertSkipped(bytes32(uint256(1)), IVerified.SkipReason.BadSignature);
    }

    /// @dev An inner node has the size of a leaf, but no fields hash to it: whatever intent stands in its
    /// place, its own hash begins with a type hash. Signing a tree over a node proves no intent.
    function testFuzz_settle_skipsNodeAsLeaf(uint64 units, uint96 limit, bool immediate) public {
        bytes32[] memory leaves = Bulk.leavesOf(_bulk(buyer.addr, 4, PLAIN, buyer), address(usdc));
        bytes32[] memory nodes = new bytes32[](2);
        nodes[0] = keccak256(abi.encodePacked(leaves[0], leaves[1]));
        nodes[1] = keccak256(abi.encodePacked(leaves[2], leaves[3]));
        // The same root, as if the nodes were leaves.
        bytes32 root = Bulk.rootOf(nodes);
        vm.assertEq(root, Bulk.rootOf(leaves));
        SettledIntent memory forged = _plain(buyer.addr, 50, Bulk.flag(1));
        forged.units = uint64(_bound(units, 1, type(uint64).max));
        forged.limit = limit;
        forged.immediate = immediate;
        bytes memory proof = Bulk.proofOf(nodes, 0);
        forged.signature = bytes.concat(proof, _sign(buyer, Bulk.digestOf(root, 1, settlement)));
        _settle(_offerOf(1), forged);
        _assertSkipped(bytes32(uint256(51)), IVerified.SkipReason.BadSignature);
    }

    function test_settle_skipsStrangersBulk() public {
        _settle(_list(_offerOf(1)), _bulk(buyer.addr, 2, PLAIN, seller));
        _assertSkipped(bytes32(uint256(1)), IVerified.SkipReason.BadSignature);
    }

    /// @dev What one account signed says nothing about the next one's intent in the same tree.
    function test_settle_skipsForeignIntentInOwnTree() public {
        SettledIntent[] memory intents = new SettledIntent[](2);
        intents[0] = _plain(buyer.addr, 0, PLAIN);
        intents[1] = _plain(address(wallet), 1, PLAIN);
        intents = _bulkSigned(intents, buyer);
        _settle(_list(_offerOf(1)), intents);
        _assertSettled(bytes32(uint256(1)));
        _assertSkipped(bytes32(uint256(2)), IVerified.SkipReason.BadSignature);
    }

    /// @dev A bad signature is not remembered as a good one.
    function test_settle_skipsEachOfAStrangersBulk() public {
        SettledIntent[] memory intents = _bulk(buyer.addr, 3, PLAIN, seller);
        _settle(_list(_offerOf(1)), intents);
        for (uint256 i = 1; i <= 3; ++i) {
            _assertSkipped(bytes32(i), IVerified.SkipReason.BadSignature);
        }
    }

    /// @dev The owner signed the tree, the key an intent of its own: the key's signature is no word on
    /// the owner's tree, and may not be charged for it.
    function test_settle_skipsOwnersTreeAsSessions() public {
        _enable(address(wallet), agent, 1000);
        SettledIntent[] memory tree = new SettledIntent[](2);
        tree[0] = _plain(address(wallet), 0, CONTRACT);
        tree[1] = _plain(address(wallet), 1, SESSION);
        tree = _bulkSigned(tree, buyer);
        SettledIntent[] memory intents = new SettledIntent[](3);
        intents[0] = tree[0];
        intents[1] = _signed(_plain(address(wallet), 2, SESSION), agent);
        intents[2] = tree[1];
        intents[2].signature = bytes.concat(_head(tree[1].signature, 34), intents[1].signature);
        _settle(_list(_offerOf(1)), intents);
        _assertSettled(bytes32(uint256(1)));
        _assertSettled(bytes32(uint256(3)));
        _assertSkipped(bytes32(uint256(2)), IVerified.SkipReason.SessionRefused);
        vm.assertEq(_charged(address(wallet), agent), 1);
    }

    /// @dev A session is asked when it is charged: until then nobody is found to have signed.
    function test_settle_skipsSessionsTreeAsOwners() public {
        _enable(address(wallet), agent, 1000);
        SettledIntent[] memory intents = new SettledIntent[](2);
        intents[0] = _plain(address(wallet), 0, SESSION);
        intents[1] = _plain(address(wallet), 1, CONTRACT);
        _settle(_list(_offerOf(1)), _bulkSigned(intents, agent));
        _assertSettled(bytes32(uint256(1)));
        _assertSkipped(bytes32(uint256(2)), IVerified.SkipReason.BadSignature);
    }

    /// @dev A good proof before it is no word for another tree of the same account.
    function test_settle_skipsWrongProofAfterARightOne() public {
        SettledIntent[] memory intents = _bulk(buyer.addr, 3, PLAIN, buyer);
        intents[1].signature[20] ^= 0x01;
        _settle(_list(_offerOf(1)), intents);
        _assertSettled(bytes32(uint256(1)));
        _assertSkipped(bytes32(uint256(2)), IVerified.SkipReason.BadSignature);
        _assertSettled(bytes32(uint256(3)));
    }

    function test_settle_skipsFilledIntentOfBulk() public {
        SettledIntent memory intent = _bulk(buyer.addr, 4, PLAIN, buyer)[2];
        _settle(_offerOf(1), intent);
        intent.lines[0].fill = "again";
        _settle(_offerOf(1), intent);
        _assertSkipped("again", IVerified.SkipReason.UnitsOverfilled);
    }

    function test_settle_skipsCancelledIntentOfBulkOnly() public {
        vm.prank(buyer.addr);
        settlement.cancel(1);
        vm.warp(NOW + EXIT_DELAY);
        _settle(_list(_offerOf(1)), _bulk(buyer.addr, 2, PLAIN, buyer));
        _assertSettled(bytes32(uint256(1)));
        _assertSkipped(bytes32(uint256(2)), IVerified.SkipReason.Cancelled);
    }

    /// @dev The first intent of a batch has none before it.
    function test_settle_skipsWithoutAnySignature() public {
        SettledIntent memory intent = _bulk(buyer.addr, 2, PLAIN, buyer)[0];
        intent.signature = _head(intent.signature, 34);
        _settle(_offerOf(1), intent);
        _assertSkipped(bytes32(uint256(1)), IVerified.SkipReason.BadSignature);
    }

    // ------------------------------------------------------------------ what only an operator does

    function test_settle_RevertIf_treeTooHigh() public {
        SettledIntent memory intent = _bulk(buyer.addr, 2, PLAIN, buyer)[0];
        intent.authority = Bulk.flag(11);
        intent.signature = new bytes(2 + 11 * 32 + 64);
        _expectRevert(intent, BulkTree.BulkProofMalformed.selector);
    }

    function test_settle_RevertIf_indexBeyondTree() public {
        SettledIntent memory intent = _bulk(buyer.addr, 2, PLAIN, buyer)[0];
        intent.signature[1] = 0x02;
        _expectRevert(intent, BulkTree.BulkProofMalformed.selector);
    }

    function test_settle_RevertIf_shorterThanItsProof() public {
        SettledIntent memory intent = _bulk(buyer.addr, 4, PLAIN, buyer)[0];
        intent.signature = _head(intent.signature, 65);
        _expectRevert(intent, BatchReader.BatchMalformed.selector);
    }

    // ------------------------------------------------------------------ documents

    /// @dev Intents for one unit each; the n-th has nonce n and one line, whose fill is n + 1.
    function _bulk(address account, uint256 count, uint8 authority, Party memory signer)
        private
        view
        returns (SettledIntent[] memory intents)
    {
        intents = new SettledIntent[](count);
        for (uint64 i = 0; i < count; ++i) {
            intents[i] = _plain(account, i, authority);
        }
        return _bulkSigned(intents, signer);
    }

    function _plain(address account, uint64 nonce, uint8 authority)
        private
        pure
        returns (SettledIntent memory intent)
    {
        intent = _intent(account, nonce, 1, 2);
        intent.authority = authority;
        intent.lines = _list(_line(0, 1, 1, 1, bytes32(uint256(nonce) + 1)));
    }

    /// @dev Only the first one keeps its signature.
    function _shortened(SettledIntent[] memory intents)
        private
        pure
        returns (SettledIntent[] memory)
    {
        for (uint256 i = 1; i < intents.length; ++i) {
            intents[i].signature = _head(intents[i].signature, intents[i].signature.length - 64);
        }
        return intents;
    }

    function _head(bytes memory text, uint256 length) private pure returns (bytes memory head) {
        head = new bytes(length);
        for (uint256 i = 0; i < length; ++i) {
            head[i] = text[i];
        }
    }

    function _assertSettledAll(uint256 count) private view {
        for (uint256 i = 1; i <= count; ++i) {
            _assertSettled(bytes32(i));
        }
    }

    function _expectRevert(SettledIntent memory intent, bytes4 selector) private {
        bytes memory batch = Batch.encode(_list(_offerOf(1)), _list(intent));
        vm.prank(address(operator));
        vm.expectRevert(selector);
        settlement.settle(0, 0, batch);
    }
}
