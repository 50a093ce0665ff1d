// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.37;

import {BatchReader} from "../src/BatchReader.sol";
import {BulkTree} from "../src/BulkTree.sol";
import {IVerified} from "../src/IVerified.sol";
import {SessionAccount} from "../src/SessionAccount.sol";
import {Batch, SettledIntent} from "./Batch.sol";
import {Bulk} from "./Bulk.sol";
import {Bundle, Terms} from "./Bundle.sol";
import {MarketTest} from "./MarketTest.sol";

/// @title Legs of a bundle, each proven with the terms that were signed, and proofs that prove nothing
contract SettlementBundleTest is MarketTest {
    uint256 private constant HEAD = 7;

    Terms private _terms = Terms(true, 990, 1500);
    Party private _agent;
    SessionAccount private _wallet;

    function setUp() public override {
        super.setUp();
        _agent = _party("agent");
        _wallet = _account(buyer);
        _fund(buyer.addr, 1000);
        _fund(address(_wallet), 1000);
    }

    // ------------------------------------------------------------------ what settles

    function testFuzz_settle_acceptsAnyLeg(Terms memory terms, uint256 count, uint256 index)
        public
    {
        count = _bound(count, 2, 16);
        index = _bound(index, 0, count - 1);
        _settle(_offerOf(1), _bundle(terms, _legs(buyer.addr, count, PLAIN), buyer)[index]);
        _assertSettled(bytes32(index + 1));
    }

    /// @dev Legs that stand together carry the signature once, as those of a bulk do.
    function test_settle_acceptsAllLegs() public {
        SettledIntent[] memory legs = _bundle(_terms, _legs(buyer.addr, 16, PLAIN), buyer);
        for (uint256 i = 1; i < legs.length; ++i) {
            legs[i].signature = _head(legs[i].signature, legs[i].signature.length - 64);
        }
        _settle(_list(_offerOf(1)), legs);
        for (uint256 i = 1; i <= 16; ++i) {
            _assertSettled(bytes32(i));
        }
        vm.assertEq(_balance(buyer.addr), 984);
    }

    function test_settle_acceptsOwnersBundleOfAccount() public {
        _settle(_offerOf(1), _bundle(_terms, _legs(address(_wallet), 3, CONTRACT), buyer)[2]);
        _assertSettled(bytes32(uint256(3)));
    }

    function test_settle_chargesSessionForEachLeg() public {
        _enable(address(_wallet), _agent, 2);
        _settle(_list(_offerOf(1)), _bundle(_terms, _legs(address(_wallet), 3, SESSION), _agent));
        _assertSettled(bytes32(uint256(1)));
        _assertSettled(bytes32(uint256(2)));
        _assertSkipped(bytes32(uint256(3)), IVerified.SkipReason.SessionRefused);
    }

    // ------------------------------------------------------------------ what does not

    /// @dev Any bit of the terms, of the index within the tree, and of the siblings counts.
    function testFuzz_settle_skipsAlteredProof(uint256 at, uint8 bit) public {
        SettledIntent[] memory legs = _bundle(_terms, _legs(buyer.addr, 16, PLAIN), buyer);
        uint256 proofSize = HEAD + 2 + 4 * 32;
        at = _bound(at, 0, proofSize - 1);
        bit = uint8(_bound(bit, 0, 7));
        // Beyond the tree: that reverts, see below.
        if (at == HEAD) at = HEAD + 1;
        if (at == HEAD + 1) bit %= 4;
        legs[5].signature[at] ^= bytes1(uint8(1) << bit);
        _settle(_offerOf(1), legs[5]);
        _assertSkipped(bytes32(uint256(6)), IVerified.SkipReason.BadSignature);
    }

    function test_settle_skipsOtherTerms() public {
        Terms[4] memory others = [
            Terms(false, 990, 1500),
            Terms(true, 989, 1500),
            Terms(true, 990, 1501),
            Terms(true, 0, 0)
        ];
        bytes32[] memory leaves = Bulk.leavesOf(_legs(buyer.addr, 4, PLAIN), address(usdc));
        for (uint16 i = 0; i < 4; ++i) {
            SettledIntent[] memory legs = _bundle(_terms, _legs(buyer.addr, 4, PLAIN), buyer);
            bytes memory signature =
                _sign(buyer, Bundle.digestOf(_terms, Bulk.rootOf(leaves), 2, settlement));
            legs[i].signature = bytes.concat(Bundle.proofOf(others[i], leaves, i), signature);
            _settle(_offerOf(1), legs[i]);
            _assertSkipped(bytes32(uint256(i) + 1), IVerified.SkipReason.BadSignature);
        }
    }

    /// @dev A good leg before it is no word for other terms of the same tree.
    function test_settle_skipsOtherTermsAfterGoodOnes() public {
        SettledIntent[] memory legs = _bundle(_terms, _legs(buyer.addr, 3, PLAIN), buyer);
        legs[1].signature[0] = 0x00;
        _settle(_list(_offerOf(1)), legs);
        _assertSettled(bytes32(uint256(1)));
        _assertSkipped(bytes32(uint256(2)), IVerified.SkipReason.BadSignature);
        _assertSettled(bytes32(uint256(3)));
    }

    function test_settle_skipsChangedLeg() public {
        SettledIntent[] memory legs = _bundle(_terms, _legs(buyer.addr, 3, PLAIN), buyer);
        legs[0].limit += 1;
        _settle(_offerOf(1), legs[0]);
        _assertSkipped(bytes32(uint256(1)), IVerified.SkipReason.BadSignature);
    }

    /// @dev The same tree and signature without its terms are no bulk.
    function test_settle_skipsBundleAsBulk() public {
        SettledIntent[] memory legs = _bundle(_terms, _legs(buyer.addr, 4, PLAIN), buyer);
        legs[0].authority = Bulk.flag(2);
        bytes memory tail = new bytes(legs[0].signature.length - HEAD);
        for (uint256 i = 0; i < tail.length; ++i) {
            tail[i] = legs[0].signature[i + HEAD];
        }
        legs[0].signature = tail;
        _settle(_offerOf(1), legs[0]);
        _assertSkipped(bytes32(uint256(1)), IVerified.SkipReason.BadSignature);
    }

    /// @dev Nor do terms, be they zeros, make a bundle of a bulk.
    function testFuzz_settle_skipsBulkAsBundle(Terms memory terms) public {
        SettledIntent[] memory legs = _bulkSigned(_legs(buyer.addr, 4, PLAIN), buyer);
        legs[0].authority = Bundle.flag(2);
        legs[0].signature = bytes.concat(
            abi.encodePacked(terms.any, terms.successMin, terms.latencyMax), legs[0].signature
        );
        _settle(_offerOf(1), legs[0]);
        _assertSkipped(bytes32(uint256(1)), IVerified.SkipReason.BadSignature);
    }

    function test_settle_skipsLegsOwnSignature() public {
        SettledIntent[] memory legs = _legs(buyer.addr, 2, PLAIN);
        bytes32[] memory leaves = Bulk.leavesOf(legs, address(usdc));
        bytes memory signature = _sign(buyer, Batch.digestOf(legs[0], settlement));
        legs[0].authority |= Bundle.flag(1);
        legs[0].signature = bytes.concat(Bundle.proofOf(_terms, leaves, 0), signature);
        _settle(_offerOf(1), legs[0]);
        _assertSkipped(bytes32(uint256(1)), IVerified.SkipReason.BadSignature);
    }

    /// @dev A lower or a higher tree is another type, whatever its nodes.
    function testFuzz_settle_skipsOtherHeight(uint256 height) public {
        height = _bound(height, 1, 4);
        vm.assume(height != 2);
        SettledIntent[] memory legs = _legs(buyer.addr, 4, PLAIN);
        bytes32[] memory leaves = Bulk.leavesOf(legs, address(usdc));
        bytes32 digest = Bundle.digestOf(_terms, Bulk.rootOf(leaves), height, settlement);
        legs[0].authority |= Bundle.flag(2);
        legs[0].signature = bytes.concat(Bundle.proofOf(_terms, leaves, 0), _sign(buyer, digest));
        _settle(_offerOf(1), legs[0]);
        _assertSkipped(bytes32(uint256(1)), IVerified.SkipReason.BadSignature);
    }

    function test_settle_skipsStrangersBundle() public {
        _settle(_offerOf(1), _bundle(_terms, _legs(buyer.addr, 2, PLAIN), seller)[0]);
        _assertSkipped(bytes32(uint256(1)), IVerified.SkipReason.BadSignature);
    }

    // ------------------------------------------------------------------ what only an operator does

    /// @dev 16 would be a bundle without a tree, 21 to 31 trees that are too high.
    function testFuzz_settle_RevertIf_heightOutOfRange(uint256 height) public {
        height = _bound(height, 0, 15);
        vm.assume(height == 0 || height > 4);
        SettledIntent memory leg = _legs(buyer.addr, 2, PLAIN)[0];
        leg.authority = Bundle.flag(uint8(height));
        leg.signature = new bytes(HEAD + 2 + height * 32 + 64);
        _expectRevert(leg, BulkTree.BulkProofMalformed.selector);
    }

    function test_settle_RevertIf_indexBeyondTree() public {
        SettledIntent memory leg = _bundle(_terms, _legs(buyer.addr, 2, PLAIN), buyer)[0];
        leg.signature[HEAD + 1] = 0x02;
        _expectRevert(leg, BulkTree.BulkProofMalformed.selector);
    }

    function test_settle_RevertIf_shorterThanItsProof() public {
        SettledIntent memory leg = _bundle(_terms, _legs(buyer.addr, 4, PLAIN), buyer)[0];
        leg.signature = _head(leg.signature, HEAD + 2 + 2 * 32 - 1);
        _expectRevert(leg, BatchReader.BatchMalformed.selector);
    }

    // ------------------------------------------------------------------ documents

    /// @dev Intents for one unit each; the n-th has nonce n and one line, whose fill is n + 1.
    function _legs(address account, uint256 count, uint8 authority)
        private
        pure
        returns (SettledIntent[] memory legs)
    {
        legs = new SettledIntent[](count);
        for (uint64 i = 0; i < count; ++i) {
            legs[i] = _intent(account, i, 1, 2);
            legs[i].authority = authority;
            legs[i].lines = _list(_line(0, 1, 1, 1, bytes32(uint256(i) + 1)));
        }
    }

    function _bundle(Terms memory terms, SettledIntent[] memory legs, Party memory signer)
        private
        view
        returns (SettledIntent[] memory)
    {
        bytes memory signature = _sign(signer, Bundle.digestOf(terms, legs, settlement));
        bytes32[] memory leaves = Bulk.leavesOf(legs, address(usdc));
        for (uint16 i = 0; i < legs.length; ++i) {
            legs[i].authority |= Bundle.flag(Bulk.heightOf(legs.length));
            legs[i].signature = bytes.concat(Bundle.proofOf(terms, leaves, i), signature);
        }
        return legs;
    }

    function _head(bytes memory text, uint256 length) private pure returns (bytes memory head) {
        head = new bytes(length);
        for (uint256 i = 0; i < length; ++i) {
            head[i] = text[i];
        }
    }

    function _expectRevert(SettledIntent memory leg, bytes4 selector) private {
        bytes memory batch = Batch.encode(_list(_offerOf(1)), _list(leg));
        vm.prank(address(operator));
        vm.expectRevert(selector);
        settlement.settle(0, 0, batch);
    }
}
