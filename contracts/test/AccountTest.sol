// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.37;

import {IEntryPoint, PackedUserOperation} from "@openzeppelin/contracts/interfaces/IERC4337.sol";
import {ISessionAccount} from "../src/ISessionAccount.sol";
import {ISessionKeys} from "../src/ISessionKeys.sol";
import {SessionAccount} from "../src/SessionAccount.sol";
import {SessionAccountFactory} from "../src/SessionAccountFactory.sol";
import {MarketTest} from "./MarketTest.sol";

interface IEntryPointHash {
    function getUserOpHash(PackedUserOperation calldata userOp) external view returns (bytes32);
}

/// @title An account with money and sessions, what they sign, and the real entry points
abstract contract AccountTest is MarketTest {
    uint32 internal constant DAY = 1 days;
    uint88 internal constant DOLLAR = 1_000_000;
    uint64 internal constant FEE_MAX = 0.001 ether;
    uint8 internal constant ALL = SETTLE | CANCEL | SPEND;
    address internal constant BUNDLER = address(0xb0b);
    uint8 internal constant LISTED = 16;

    Party internal owner;
    Party internal key;
    Party internal other;
    Party internal payee;
    SessionAccount internal account;

    function setUp() public virtual override {
        super.setUp();
        owner = _party("owner");
        key = _party("key");
        other = _party("other");
        payee = _party("payee");
        account = _account(owner);
        usdc.mint(address(account), 1000 * DOLLAR);
    }

    // ------------------------------------------------------------------ terms

    /// @dev May spend a dollar a day for thirty days.
    function _terms(Party memory party) internal pure returns (ISessionKeys.Terms memory) {
        return ISessionKeys.Terms({
            key: party.addr,
            permissions: SPEND,
            expiresAt: NOW + 30 days,
            cap: DOLLAR,
            period: DAY,
            paymaster: address(0),
            feeMax: 0,
            operationsMax: 0
        });
    }

    /// @dev The same, and ten user operations.
    function _termsWithFees(Party memory party)
        internal
        pure
        returns (ISessionKeys.Terms memory terms)
    {
        terms = _terms(party);
        terms.feeMax = FEE_MAX;
        terms.operationsMax = 10;
    }

    function _grantTo(Party memory party) internal {
        _grantTerms(_terms(party));
    }

    function _grantTerms(ISessionKeys.Terms memory terms) internal {
        vm.prank(owner.addr);
        account.grantTerms(terms);
    }

    function _spendAs(Party memory party, uint256 amount) internal {
        vm.prank(party.addr);
        account.spend(payee.addr, amount);
    }

    function _paid() internal view returns (uint256) {
        return usdc.balanceOf(payee.addr);
    }

    // ------------------------------------------------------------------ signatures

    function _domainOf(string memory name, address verifier) internal view returns (bytes32) {
        return keccak256(
            abi.encode(
                keccak256(
                    "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
                ),
                keccak256(bytes(name)),
                keccak256("1"),
                block.chainid,
                verifier
            )
        );
    }

    function _digest(SessionAccount at_, bytes32 hash) internal view returns (bytes32) {
        return
            keccak256(abi.encodePacked(hex"1901", _domainOf("KeyfillAccount", address(at_)), hash));
    }

    function _grantHash(
        address account_,
        ISessionKeys.Terms memory terms,
        uint24 epoch,
        uint16 sequence
    ) internal pure returns (bytes32) {
        return keccak256(
            abi.encode(
                keccak256(
                    "AccountGrant(address account,address key,uint8 permissions,uint40 expiresAt,uint88 cap,uint32 period,address paymaster,uint64 feeMax,uint32 operationsMax,uint24 epoch,uint16 sequence)"
                ),
                account_,
                terms,
                epoch,
                sequence
            )
        );
    }

    /// @dev What the owner signs now, so that the grant is valid once.
    function _grantDigest(ISessionKeys.Terms memory terms) internal view returns (bytes32) {
        return _digest(
            account,
            _grantHash(
                address(account),
                terms,
                account.sessionEpoch(),
                account.sessionOf(terms.key).sequence
            )
        );
    }

    function _grantSigned(ISessionKeys.Terms memory terms) internal {
        uint16 sequence = account.sessionOf(terms.key).sequence;
        account.grantSigned(terms, sequence, _sign(owner, _grantDigest(terms)));
    }

    function _order(Party memory party, uint256 amount)
        internal
        view
        returns (ISessionKeys.Order memory)
    {
        return ISessionKeys.Order({
            key: party.addr,
            to: payee.addr,
            amount: amount,
            nonce: account.sessionOf(party.addr).orderNonce,
            deadline: NOW + 1 hours
        });
    }

    function _orderHash(address account_, ISessionKeys.Order memory order, uint16 sequence)
        internal
        pure
        returns (bytes32)
    {
        return keccak256(
            abi.encode(
                keccak256(
                    "AccountOrder(address account,address key,address to,uint256 amount,uint16 sequence,uint64 nonce,uint40 deadline)"
                ),
                account_,
                order.key,
                order.to,
                order.amount,
                sequence,
                order.nonce,
                order.deadline
            )
        );
    }

    function _orderDigest(ISessionKeys.Order memory order) internal view returns (bytes32) {
        return _digest(
            account, _orderHash(address(account), order, account.sessionOf(order.key).sequence)
        );
    }

    // ------------------------------------------------------------------ user operations

    /// @dev The contract of the npm package, as it was published.
    function _deployEntryPoint(string memory package) internal returns (IEntryPoint deployed) {
        bytes memory code = vm.getCode(
            string.concat(
                "node_modules/@account-abstraction/", package, "/artifacts/EntryPoint.json"
            )
        );
        assembly {
            deployed := create(0, add(code, 0x20), mload(code))
        }
        vm.assertTrue(address(deployed).code.length != 0);
    }

    /// @dev The account of `owner` behind this entry point, with money, and ether for its fees.
    function _accountBehind(IEntryPoint entryPoint_) internal returns (SessionAccount created) {
        SessionAccountFactory factory_ = _factoryBehind(entryPoint_, usdc);
        created = SessionAccount(payable(factory_.createAccount(owner.addr, 0)));
        usdc.mint(address(created), 1000 * DOLLAR);
        vm.deal(address(created), 1 ether);
    }

    function _nonceOf(SessionAccount account_, Party memory party) internal view returns (uint256) {
        uint256 lane = uint256(account_.sessionOf(party.addr).sequence) << 160;
        return account_.getNonce(uint192(lane | uint160(party.addr)));
    }

    /// @dev Unsigned, in the lane of a session key. Costs at most FEE_MAX.
    function _operation(SessionAccount account_, uint256 nonce, bytes memory callData)
        internal
        pure
        returns (PackedUserOperation memory operation)
    {
        operation.sender = address(account_);
        operation.nonce = nonce;
        operation.callData = callData;
        operation.accountGasLimits = bytes32(uint256(150_000) << 128 | 150_000);
        operation.preVerificationGas = 50_000;
        operation.gasFees = bytes32(uint256(1 gwei) << 128 | 2 gwei);
    }

    function _spendOperation(SessionAccount account_, Party memory party, uint256 amount)
        internal
        view
        returns (PackedUserOperation memory operation)
    {
        return _operation(
            account_,
            _nonceOf(account_, party),
            abi.encodeCall(ISessionAccount.spendAs, (party.addr, payee.addr, amount))
        );
    }

    function _signed(PackedUserOperation memory operation, Party memory party)
        internal
        view
        returns (PackedUserOperation memory)
    {
        address at_ = address(SessionAccount(payable(operation.sender)).entryPoint());
        operation.signature = _sign(party, IEntryPointHash(at_).getUserOpHash(operation));
        return operation;
    }

    /// @dev As a bundler, which is a plain address.
    function _handle(PackedUserOperation memory operation) internal virtual {
        PackedUserOperation[] memory operations = new PackedUserOperation[](1);
        operations[0] = operation;
        _handleAll(operations);
    }

    function _handleAll(PackedUserOperation[] memory operations) internal {
        IEntryPoint at_ = SessionAccount(payable(operations[0].sender)).entryPoint();
        vm.prank(BUNDLER, BUNDLER);
        at_.handleOps(operations, payable(BUNDLER));
    }
}
