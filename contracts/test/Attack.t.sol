// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.37;

import {IAccountOwner} from "../src/IAccountOwner.sol";
import {SessionAccount} from "../src/SessionAccount.sol";
import {TestUSDC} from "../src/TestUSDC.sol";
import {AccountTest} from "./AccountTest.sol";

/// @dev Whom the issuer has blocked neither sends nor gets.
contract BlockingUSDC is TestUSDC {
    error Blocked();

    mapping(address => bool) public isBlocked;

    function setBlocked(address account) external {
        isBlocked[account] = true;
    }

    function _update(address from, address to, uint256 value) internal override {
        require(!isBlocked[from] && !isBlocked[to], Blocked());
        super._update(from, to, value);
    }
}

/// @title Published attacks that no other file here has
contract AttackTest is AccountTest {
    /// @dev A party that the token's issuer has blocked poisons no batch, since none transfers: others
    /// are paid beside it and leave, and it has its own balance to itself.
    function test_attack_blockedPartyPoisonsNothing() public {
        vm.etch(address(usdc), address(new BlockingUSDC()).code);
        BlockingUSDC token = BlockingUSDC(address(usdc));
        _fund(buyer.addr, 1000);
        token.setBlocked(seller.addr);
        _settle(_offerOf(1), _intentOf(1, _line(0, 100, 100, 200, "fill")));
        _assertSettled("fill");
        vm.assertEq(_balance(seller.addr), 200);
        vm.prank(buyer.addr);
        settlement.requestWithdrawal(800);
        vm.prank(seller.addr);
        settlement.requestWithdrawal(200);
        vm.warp(NOW + EXIT_DELAY);
        vm.prank(seller.addr);
        vm.expectRevert(BlockingUSDC.Blocked.selector);
        settlement.withdraw(seller.addr);
        vm.prank(buyer.addr);
        vm.assertEq(settlement.withdraw(buyer.addr), 800);
        vm.assertEq(_balance(seller.addr), 200);
    }

    /// @dev An EIP-7702 authorisation for no chain holds on every chain; naming an owner does not.
    function test_attack_delegationForAnyChain() public {
        vm.signAndAttachDelegation(address(implementation), owner.key);
        SessionAccount delegated = SessionAccount(payable(owner.addr));
        bytes memory signer = abi.encodePacked(other.addr);
        bytes32 hash =
            keccak256(abi.encode(keccak256("AccountInitialize(bytes signer)"), keccak256(signer)));
        // The chain is asked for once, before it changes: the optimiser would ask only once anyway.
        bytes memory signature = _sign(owner, _digest(delegated, hash));
        uint256 before = vm.snapshotState();
        vm.chainId(1);
        vm.expectPartialRevert(IAccountOwner.SessionAccountUnauthorized.selector);
        delegated.initializeDelegated(signer, signature);
        vm.assertEq(delegated.owner(), owner.addr);
        vm.revertToState(before);
        vm.chainId(31_337);
        delegated.initializeDelegated(signer, signature);
        vm.assertEq(delegated.owner(), other.addr);
    }
}
