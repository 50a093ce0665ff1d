// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.37;

import {IEntryPoint} from "@openzeppelin/contracts/interfaces/IERC4337.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {CapWord} from "../src/CapWord.sol";
import {ISessionRegistry} from "../src/ISessionRegistry.sol";
import {ISettlement} from "../src/ISettlement.sol";
import {IVerified} from "../src/IVerified.sol";
import {SessionAccountFactory} from "../src/SessionAccountFactory.sol";
import {SessionAccount} from "../src/SessionAccount.sol";
import {SessionPolicy} from "../src/SessionPolicy.sol";
import {SettlementDesk} from "../src/SettlementDesk.sol";
import {TestUSDC} from "../src/TestUSDC.sol";
import {Batch, Line, SettledIntent, SettledMandate, SettledOffer} from "./Batch.sol";
import {Bulk} from "./Bulk.sol";
import {Test} from "./Test.sol";
import {Vm} from "./Vm.sol";

/// @title A deployed market, and documents that read like sentences
abstract contract MarketTest is Test {
    using CapWord for uint256;

    enum Outcome {
        Unseen,
        Settled,
        Skipped
    }

    bytes32 internal constant RESOURCE = keccak256("tavily/search:call");
    uint40 internal constant EXIT_DELAY = 1 hours;
    uint32 internal constant UNCOVERED_CAP = 1_000_000;
    uint40 internal constant NOW = 1_800_000_000;
    uint8 internal constant PLAIN = 0;
    uint8 internal constant CONTRACT = 1;
    uint8 internal constant SESSION = 2;
    uint8 internal constant SETTLE = 1;
    uint8 internal constant SIGN = 2;
    uint8 internal constant CANCEL = 4;
    uint8 internal constant SPEND = 8;

    TestUSDC internal usdc;
    ISettlement internal settlement;
    SettlementDesk internal desk;
    SessionAccount internal implementation;
    SessionAccountFactory internal factory;
    SessionAccount internal operator;
    Party internal operatorOwner;
    Party internal operatorKey;
    Party internal buyer;
    Party internal seller;
    address internal entryPoint;

    mapping(bytes32 fill => Outcome) internal outcomes;
    mapping(bytes32 fill => IVerified.SkipReason) internal reasons;
    uint64 internal batchNumber;

    function setUp() public virtual {
        vm.warp(NOW);
        entryPoint = address(0x4337);
        operatorOwner = _party("operator owner");
        operatorKey = _party("operator key");
        buyer = _party("buyer");
        seller = _party("seller");
        usdc = TestUSDC(_deploy("TestUSDC", ""));
        address predicted = vm.computeCreateAddress(address(this), vm.getNonce(address(this)) + 3);
        settlement = ISettlement(predicted);
        factory = _factoryBehind(IEntryPoint(entryPoint), usdc);
        implementation = SessionAccount(payable(factory.implementation()));
        address operator_ = factory.predict(operatorOwner.addr, 0);
        desk = SettlementDesk(_deploy("SettlementDesk", abi.encode(usdc, operator_, EXIT_DELAY)));
        bytes memory arguments = abi.encode(usdc, operator_, EXIT_DELAY, UNCOVERED_CAP, desk);
        vm.assertEq(_deploy("Settlement", arguments), predicted);
        operator = _account(operatorOwner);
        _grant(operator, operatorOwner, operatorKey, SETTLE, type(uint88).max);
    }

    // ------------------------------------------------------------------ parties

    function _account(Party memory owner) internal returns (SessionAccount) {
        return SessionAccount(payable(factory.createAccount(owner.addr, 0)));
    }

    /// @dev Its accounts settle here.
    function _factoryBehind(IEntryPoint entryPoint_, IERC20 token)
        internal
        returns (SessionAccountFactory)
    {
        address account = _deploy("SessionAccount", abi.encode(entryPoint_, settlement, token));
        return SessionAccountFactory(_deploy("SessionAccountFactory", abi.encode(account)));
    }

    function _grant(
        SessionAccount account,
        Party memory owner,
        Party memory key,
        uint8 permissions,
        uint88 cap
    ) internal {
        vm.prank(owner.addr);
        account.grantSession(key.addr, permissions, NOW + 30 days, cap);
    }

    function _registry() internal view returns (ISessionRegistry) {
        return ISessionRegistry(address(settlement));
    }

    /// @dev A key that may sign documents of the account, up to `spend` atoms in any 30 days; 0 is no cap.
    function _enable(address account, Party memory key, uint96 spend) internal {
        _enable(_sessionGrant(account, key, spend));
    }

    function _enable(ISessionRegistry.SessionGrant memory grant) internal {
        vm.prank(grant.account);
        _registry().grantSession(grant);
    }

    function _sessionGrant(address account, Party memory key, uint96 spend)
        internal
        pure
        returns (ISessionRegistry.SessionGrant memory grant)
    {
        grant.account = account;
        grant.key = key.addr;
        grant.permissions = SIGN;
        grant.resource = keccak256("");
        grant.spend = spend;
        grant.period = spend == 0 ? 0 : 30 days;
        grant.expiresAt = NOW + 30 days;
    }

    function _disable(address account, Party memory key) internal {
        vm.prank(account);
        _registry().revokeSession(account, key.addr);
    }

    /// @dev What counts against the key's cap now.
    function _charged(address account, Party memory key) internal view returns (uint256) {
        uint256 word =
            _registry().wordOf(SessionPolicy.Bearer.Key, account, uint256(uint160(key.addr)));
        return word.spentOf(block.timestamp);
    }

    function _fund(address account, uint256 amount) internal {
        usdc.mint(address(this), amount);
        usdc.approve(address(settlement), amount);
        settlement.deposit(account, amount);
    }

    function _balance(address account) internal view returns (uint256) {
        return settlement.accountOf(account).balance;
    }

    // ------------------------------------------------------------------ documents

    /// @dev Without lines and signature.
    function _intent(address account, uint64 nonce, uint64 units, uint96 limit)
        internal
        pure
        returns (SettledIntent memory intent)
    {
        intent.account = account;
        intent.resource = RESOURCE;
        intent.units = units;
        intent.unitsMin = 1;
        intent.limit = limit;
        intent.validFrom = NOW;
        intent.validUntil = NOW + 1 days;
        intent.nonce = nonce;
    }

    function _offer(address account, uint64 nonce, uint64 units, uint96 limit)
        internal
        pure
        returns (SettledOffer memory offer)
    {
        offer.account = account;
        offer.resource = RESOURCE;
        offer.key = keccak256(abi.encode("key", account));
        offer.units = units;
        offer.limit = limit;
        offer.windowUnits = 100;
        offer.windowSeconds = 60;
        offer.validFrom = NOW;
        offer.validUntil = NOW + 1 days;
        offer.nonce = nonce;
    }

    /// @dev Up to `limit` atoms for RESOURCE at up to 2 atoms a unit, without lines and signature.
    function _mandate(address account, uint64 nonce, uint96 limit)
        internal
        pure
        returns (SettledMandate memory mandate)
    {
        mandate.account = account;
        mandate.resource = RESOURCE;
        mandate.tickMax = 2_000_000;
        mandate.limit = limit;
        mandate.validFrom = NOW;
        mandate.validUntil = NOW + 1 days;
        mandate.nonce = nonce;
    }

    function _line(uint16 offer, uint64 units, uint64 delivered, uint96 payment, bytes32 fill)
        internal
        pure
        returns (Line memory)
    {
        return Line(offer, units, delivered, payment, fill);
    }

    function _signed(SettledIntent memory intent, Party memory party)
        internal
        view
        returns (SettledIntent memory)
    {
        intent.signature = _sign(party, Batch.digestOf(intent, settlement));
        return intent;
    }

    function _signed(SettledOffer memory offer, Party memory party)
        internal
        view
        returns (SettledOffer memory)
    {
        offer.signature = _sign(party, Batch.digestOf(offer, settlement));
        return offer;
    }

    function _signed(SettledMandate memory mandate, Party memory party)
        internal
        view
        returns (SettledMandate memory)
    {
        mandate.signature = _sign(party, Batch.digestOf(mandate, settlement));
        return mandate;
    }

    /// @dev Proves each intent by one signature over all; the authorities stay as they are.
    function _bulkSigned(SettledIntent[] memory intents, Party memory party)
        internal
        view
        returns (SettledIntent[] memory)
    {
        bytes memory signature = _sign(party, Bulk.digestOf(intents, settlement));
        bytes32[] memory leaves = Bulk.leavesOf(intents, address(usdc));
        for (uint16 i = 0; i < intents.length; ++i) {
            intents[i].authority |= Bulk.flag(Bulk.heightOf(intents.length));
            intents[i].signature = bytes.concat(Bulk.proofOf(leaves, i), signature);
        }
        return intents;
    }

    /// @dev The buyer's signed intent for 100 units at up to 200 atoms, all of one line's units delivered.
    function _intentOf(uint64 nonce, Line memory line)
        internal
        view
        returns (SettledIntent memory intent)
    {
        intent = _signed(_intent(buyer.addr, nonce, 100, 200), buyer);
        intent.lines = _list(line);
    }

    /// @dev The seller's signed offer of 1,000 units for at least 1,000 atoms.
    function _offerOf(uint64 nonce) internal view returns (SettledOffer memory) {
        return _signed(_offer(seller.addr, nonce, 1000, 1000), seller);
    }

    // ------------------------------------------------------------------ lists

    function _list(Line memory line) internal pure returns (Line[] memory lines) {
        lines = new Line[](1);
        lines[0] = line;
    }

    function _list(Line memory first, Line memory second)
        internal
        pure
        returns (Line[] memory lines)
    {
        lines = new Line[](2);
        (lines[0], lines[1]) = (first, second);
    }

    function _list(SettledOffer memory offer) internal pure returns (SettledOffer[] memory offers) {
        offers = new SettledOffer[](1);
        offers[0] = offer;
    }

    /// @dev In the order that the contract asks for.
    function _list(SettledOffer memory first, SettledOffer memory second)
        internal
        pure
        returns (SettledOffer[] memory offers)
    {
        bool sorted = first.account < second.account
            || (first.account == second.account && first.nonce < second.nonce);
        offers = new SettledOffer[](2);
        (offers[0], offers[1]) = sorted ? (first, second) : (second, first);
    }

    function _list(SettledIntent memory intent)
        internal
        pure
        returns (SettledIntent[] memory intents)
    {
        intents = new SettledIntent[](1);
        intents[0] = intent;
    }

    function _list(SettledIntent memory first, SettledIntent memory second)
        internal
        pure
        returns (SettledIntent[] memory intents)
    {
        intents = new SettledIntent[](2);
        (intents[0], intents[1]) = (first, second);
    }

    function _list(SettledMandate memory mandate)
        internal
        pure
        returns (SettledMandate[] memory mandates)
    {
        mandates = new SettledMandate[](1);
        mandates[0] = mandate;
    }

    // ------------------------------------------------------------------ settlement

    /// @dev Settles as the operator's account and notes what became of each fill.
    function _settle(SettledOffer[] memory offers, SettledIntent[] memory intents)
        internal
        returns (uint256 paid)
    {
        return _settle(offers, intents, new SettledMandate[](0));
    }

    function _settle(
        SettledOffer[] memory offers,
        SettledIntent[] memory intents,
        SettledMandate[] memory mandates
    ) internal returns (uint256 paid) {
        bytes memory batch = Batch.encode(offers, intents, mandates);
        vm.recordLogs();
        vm.prank(address(operator));
        paid = settlement.settle(batchNumber++, keccak256("batch"), batch);
        _noteOutcomes();
    }

    function _settle(SettledOffer memory offer, SettledMandate memory mandate)
        internal
        returns (uint256 paid)
    {
        return _settle(_list(offer), new SettledIntent[](0), _list(mandate));
    }

    function _settle(SettledOffer memory offer, SettledIntent memory intent)
        internal
        returns (uint256 paid)
    {
        return _settle(_list(offer), _list(intent));
    }

    function _noteOutcomes() internal {
        Vm.Log[] memory logs = vm.getRecordedLogs();
        for (uint256 i = 0; i < logs.length; ++i) {
            if (logs[i].emitter != address(settlement)) continue;
            bytes32 fill = logs[i].topics.length > 1 ? logs[i].topics[1] : bytes32(0);
            if (logs[i].topics[0] == IVerified.FillSettled.selector) {
                outcomes[fill] = Outcome.Settled;
            } else if (logs[i].topics[0] == IVerified.FillSkipped.selector) {
                outcomes[fill] = Outcome.Skipped;
                reasons[fill] = abi.decode(logs[i].data, (IVerified.SkipReason));
            }
        }
    }

    function _assertSettled(bytes32 fill) internal view {
        vm.assertEq(uint256(reasons[fill]), 0, "skipped with this reason");
        vm.assertEq(uint256(outcomes[fill]), uint256(Outcome.Settled), "not settled");
    }

    function _assertSkipped(bytes32 fill, IVerified.SkipReason reason) internal view {
        vm.assertEq(uint256(outcomes[fill]), uint256(Outcome.Skipped), "not skipped");
        vm.assertEq(uint256(reasons[fill]), uint256(reason), "another reason");
    }
}
