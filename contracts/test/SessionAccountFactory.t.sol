// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.37;

import {SessionAccount} from "../src/SessionAccount.sol";
import {SessionAccountFactory} from "../src/SessionAccountFactory.sol";
import {MarketTest} from "./MarketTest.sol";

/// @title Accounts at addresses known beforehand
contract SessionAccountFactoryTest is MarketTest {
    function testFuzz_createAccount_atPredictedAddress(address owner, bytes32 salt) public {
        vm.assume(owner != address(0) && factory.predict(owner, salt).code.length == 0);
        address predicted = factory.predict(owner, salt);
        vm.expectEmit(address(factory));
        emit SessionAccountFactory.AccountCreated(predicted, owner);
        address account = factory.createAccount(owner, salt);
        vm.assertEq(account, predicted);
        vm.assertEq(SessionAccount(payable(account)).owner(), owner);
    }

    /// @dev Whoever creates it, the account is its owner's, and creating it again changes nothing.
    function test_createAccount_idempotent() public {
        vm.prank(seller.addr);
        address account = factory.createAccount(buyer.addr, "salt");
        vm.prank(buyer.addr);
        SessionAccount(payable(account)).changeOwner(abi.encodePacked(operatorKey.addr));
        vm.assertEq(factory.createAccount(buyer.addr, "salt"), account);
        vm.assertEq(SessionAccount(payable(account)).owner(), operatorKey.addr);
    }

    function testFuzz_predict_differsByOwnerAndSalt(address one, address other, bytes32 salt)
        public
        view
    {
        vm.assume(one != other);
        vm.assertTrue(factory.predict(one, salt) != factory.predict(other, salt));
        vm.assertTrue(factory.predict(one, salt) != factory.predict(one, ~salt));
    }

    function test_RevertIf_createAccount_zeroOwner() public {
        vm.expectRevert();
        factory.createAccount(address(0), 0);
    }

    function test_RevertIf_constructor_noCode() public {
        vm.expectPartialRevert(SessionAccountFactory.FactoryImplementationInvalid.selector);
        _deploy("SessionAccountFactory", abi.encode(address(1234)));
    }
}
