// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.37;

import {ISettlement} from "../src/ISettlement.sol";
import {IVerified} from "../src/IVerified.sol";
import {Batch, Line, SettledIntent, SettledMandate, SettledOffer} from "./Batch.sol";
import {MarketTest} from "./MarketTest.sol";

/// @title What things cost, as whole transactions: intrinsic gas, calldata and the account included
/// @dev Figures go to snapshots/; `make gas-check` fails when one moves.
contract GasTest is MarketTest {
    uint256 private constant BUYERS = 50;
    uint256 private constant SELLERS = 10;
    uint256 private constant BULK = 64;

    Party[] private _buyers;
    Party[] private _sellers;

    function setUp() public override {
        super.setUp();
        for (uint256 i = 0; i < BUYERS; ++i) {
            Party memory party = _party(string(abi.encode("gas buyer", i)));
            _buyers.push(party);
            _fund(party.addr, 1_000_000_000);
        }
        for (uint256 i = 0; i < SELLERS; ++i) {
            Party memory party = _party(string(abi.encode("gas seller", i)));
            uint256 place = _sellers.length;
            _sellers.push(party);
            for (; place > 0 && _sellers[place - 1].addr > party.addr; --place) {
                _sellers[place] = _sellers[place - 1];
            }
            _sellers[place] = party;
            _fund(party.addr, 1);
        }
        _settleOnce(0);
    }

    /// @dev A market that runs: sellers' offers, the batch word and the session have been used.
    function _settleOnce(uint64 nonce) private {
        Party memory first = _party("first buyer");
        _fund(first.addr, 1_000_000_000);
        SettledIntent memory intent = _intent(first.addr, nonce, 1000, 2_000_000);
        intent.lines = new Line[](SELLERS);
        for (uint16 i = 0; i < SELLERS; ++i) {
            intent.lines[i] = _line(i, 1, 1, 1500, keccak256(abi.encode("warm", i)));
        }
        _operate(_offers(1), _list(_signed(intent, first)));
    }

    function _offers(uint64 nonce) private view returns (SettledOffer[] memory offers) {
        offers = new SettledOffer[](SELLERS);
        for (uint256 i = 0; i < SELLERS; ++i) {
            offers[i] = _signed(_offer(_sellers[i].addr, nonce, 100_000, 100_000_000), _sellers[i]);
        }
    }

    function _plainIntents(uint64 nonce) private view returns (SettledIntent[] memory intents) {
        intents = new SettledIntent[](BUYERS);
        for (uint256 i = 0; i < BUYERS; ++i) {
            intents[i] = _intent(_buyers[i].addr, nonce, 1000, 2_000_000);
            intents[i].lines = _list(_gasLine(i));
            intents[i] = _signed(intents[i], _buyers[i]);
        }
    }

    function _gasLine(uint256 i) private pure returns (Line memory) {
        return _line(uint16(i % SELLERS), 500, 480, 720_000, keccak256(abi.encode("fill", i)));
    }

    function _operate(SettledOffer[] memory offers, SettledIntent[] memory intents)
        private
        returns (uint256 gas)
    {
        return _operate(offers, intents, new SettledMandate[](0));
    }

    /// @return gas of the whole transaction: the operator's session key calls its account
    function _operate(
        SettledOffer[] memory offers,
        SettledIntent[] memory intents,
        SettledMandate[] memory mandates
    ) private returns (uint256 gas) {
        bytes memory data = abi.encodeCall(
            ISettlement.settle,
            (batchNumber++, keccak256("batch"), Batch.encode(offers, intents, mandates))
        );
        vm.recordLogs();
        vm.prank(operatorKey.addr);
        operator.callSettlement(data);
        gas = vm.lastCallGas().gasTotalUsed;
        _noteOutcomes();
    }

    function _record(string memory name, uint256 gas) private {
        vm.snapshotValue("Gas", name, gas);
    }

    function test_gas_settle_emptyBatch() public {
        _record("empty batch", _operate(new SettledOffer[](0), new SettledIntent[](0)));
    }

    function test_gas_settle_offersOnly() public {
        _record("10 standing offers without lines", _operate(_offers(1), new SettledIntent[](0)));
    }

    function test_gas_settle_fiftyBuyers() public {
        uint256 gas = _operate(_offers(1), _plainIntents(4));
        _assertAllSettled();
        _record("per fill: 50 new buyers, 10 standing offers", gas / BUYERS);
        vm.assertLe(gas / BUYERS, 45_000, "the promised limit");
    }

    function test_gas_settle_fiftyBuyersNewOffers() public {
        uint256 gas = _operate(_offers(8), _plainIntents(4));
        _assertAllSettled();
        _record("per fill: 50 new buyers, 10 new offers", gas / BUYERS);
    }

    function test_gas_settle_fiftyBuyersAgain() public {
        _operate(_offers(1), _plainIntents(4));
        uint256 gas = _operate(_offers(1), _plainIntents(5));
        _assertAllSettled();
        _record("per fill: 50 buyers with a used counter word, 10 standing offers", gas / BUYERS);
    }

    function test_gas_settle_fiftySessions() public {
        _record("per fill: 50 new session buyers, 10 standing offers", _sessionGas(4));
        _record("per fill: 50 session buyers with a used counter word", _sessionGas(5));
    }

    /// @dev 100 fills of 10 buyers: the counter, the balance and the signature are paid once.
    function test_gas_settle_tenLinesEach() public {
        SettledIntent[] memory intents = new SettledIntent[](10);
        for (uint256 i = 0; i < 10; ++i) {
            intents[i] = _intent(_buyers[i].addr, 4, 1000, 2_000_000);
            intents[i].lines = new Line[](10);
            for (uint16 j = 0; j < 10; ++j) {
                intents[i].lines[j] = _line(j, 50, 48, 72_000, keccak256(abi.encode(i, j)));
            }
            intents[i] = _signed(intents[i], _buyers[i]);
        }
        uint256 gas = _operate(_offers(1), intents);
        _assertSettled(keccak256(abi.encode(uint256(9), uint16(9))));
        _record("per fill: 100 fills, 10 new buyers x 10 lines", gas / 100);
    }

    /// @dev 64 intents of one buyer, signed once; those after the first carry their proof alone.
    function test_gas_settle_bulkOf64() public {
        SettledIntent[] memory intents = new SettledIntent[](BULK);
        for (uint256 i = 0; i < BULK; ++i) {
            intents[i] = _intent(_buyers[0].addr, uint64(4 + i), 1000, 2_000_000);
            intents[i].lines = _list(_gasLine(i));
        }
        intents = _bulkSigned(intents, _buyers[0]);
        for (uint256 i = 1; i < BULK; ++i) {
            bytes memory proof = intents[i].signature;
            // Shortens it by the signature, which is that of the intent before.
            assembly ("memory-safe") {
                mstore(proof, sub(mload(proof), 64))
            }
        }
        uint256 gas = _operate(_offers(1), intents);
        _assertAllSettled();
        _record("per fill: 64 intents of one bulk, 10 standing offers", gas / BULK);
    }

    /// @dev 64 fills under one mandate.
    function test_gas_settle_mandateOf64() public {
        SettledMandate[] memory mandates = new SettledMandate[](1);
        mandates[0] = _mandate(_buyers[0].addr, 4, 100_000_000);
        mandates[0].tickMax = 2_000_000_000;
        mandates[0].lines = new Line[](BULK);
        for (uint256 i = 0; i < BULK; ++i) {
            mandates[0].lines[i] = _gasLine(i);
        }
        mandates[0] = _signed(mandates[0], _buyers[0]);
        uint256 gas = _operate(_offers(1), new SettledIntent[](0), mandates);
        _assertAllSettled();
        _record("per fill: 64 fills of one mandate, 10 standing offers", gas / BULK);
    }

    function test_gas_settle_badFills() public {
        _recordBad("bad fill: signature", IVerified.SkipReason.BadSignature);
        _recordBad("bad fill: expired", IVerified.SkipReason.Expired);
        _recordBad("bad fill: epoch ended", IVerified.SkipReason.EpochEnded);
        _recordBad("bad fill: overfilled", IVerified.SkipReason.UnitsOverfilled);
        _recordBad("bad fill: price above limit", IVerified.SkipReason.PriceAboveLimit);
        _recordBad("bad fill: no balance", IVerified.SkipReason.InsufficientBalance);
    }

    function test_gas_account() public {
        vm.prank(operatorOwner.addr);
        operator.grantSession(seller.addr, CANCEL, NOW + 30 days, 1_000_000);
        _record("grant a session", vm.lastCallGas().gasTotalUsed);
        vm.prank(operatorOwner.addr);
        operator.revokeSession(seller.addr);
        _record("revoke a session", vm.lastCallGas().gasTotalUsed);
        vm.prank(operatorOwner.addr);
        operator.revokeAllSessions();
        _record("revoke all sessions", vm.lastCallGas().gasTotalUsed);
        factory.createAccount(buyer.addr, 0);
        _record("create an account", vm.lastCallGas().gasTotalUsed);
    }

    function test_gas_money() public {
        usdc.mint(address(this), 10);
        usdc.approve(address(settlement), 10);
        settlement.deposit(address(this), 5);
        _record("deposit, first", vm.lastCallGas().gasTotalUsed);
        settlement.deposit(address(this), 4);
        _record("deposit, again", vm.lastCallGas().gasTotalUsed);
        settlement.requestWithdrawal(3);
        _record("request a withdrawal", vm.lastCallGas().gasTotalUsed);
        vm.warp(NOW + EXIT_DELAY);
        settlement.withdraw(address(this));
        _record("withdraw", vm.lastCallGas().gasTotalUsed);
        settlement.cancel(1);
        _record("cancel a nonce", vm.lastCallGas().gasTotalUsed);
        settlement.cancelAll();
        _record("cancel all", vm.lastCallGas().gasTotalUsed);
    }

    function _assertAllSettled() private view {
        for (uint256 i = 0; i < BUYERS; ++i) {
            _assertSettled(keccak256(abi.encode("fill", i)));
        }
    }

    /// @dev As 50 buyers with intents signed by a session key of each.
    function _sessionGas(uint64 nonce) private returns (uint256) {
        SettledIntent[] memory intents = new SettledIntent[](BUYERS);
        for (uint256 i = 0; i < BUYERS; ++i) {
            Party memory key = _party(string(abi.encode("agent", i)));
            if (nonce == 4) _enable(_buyers[i].addr, key, 1_000_000_000);
            intents[i] = _intent(_buyers[i].addr, nonce, 1000, 2_000_000);
            intents[i].authority = SESSION;
            intents[i].lines = _list(_gasLine(i));
            intents[i] = _signed(intents[i], key);
        }
        uint256 gas = _operate(_offers(1), intents);
        _assertAllSettled();
        return gas / BUYERS;
    }

    /// @dev What a batch of one good fill costs more when a bad one by someone else is added.
    function _recordBad(string memory name, IVerified.SkipReason reason) private {
        Party memory stranger = _party("bad buyer");
        SettledIntent memory bad = _intent(stranger.addr, 9, 1000, 2_000_000);
        if (reason == IVerified.SkipReason.Expired) bad.validUntil = NOW - EXIT_DELAY - 1;
        if (reason == IVerified.SkipReason.EpochEnded) bad.epoch = 7;
        Line memory line = _line(0, 500, 480, 720_000, keccak256(bytes(name)));
        if (reason == IVerified.SkipReason.UnitsOverfilled) line.units = 1001;
        if (reason == IVerified.SkipReason.PriceAboveLimit) line.payment = 2_000_000;
        bad.lines = _list(line);
        bad = _signed(bad, stranger);
        if (reason == IVerified.SkipReason.BadSignature) bad.units += 1;

        SettledIntent memory good = _intent(_buyers[1].addr, 5, 1000, 2_000_000);
        good.lines = _list(_line(0, 1, 1, 1500, keccak256("good")));
        good = _signed(good, _buyers[1]);
        // Once before, so that both measurements find the good intent's counter in use.
        _operate(_offers(1), _list(good));
        uint256 without = _operate(_offers(1), _list(good));
        uint256 with = _operate(_offers(1), _list(good, bad));
        _assertSkipped(keccak256(bytes(name)), reason);
        _record(name, with - without);
        vm.assertLe(with - without, 15_000, "the promised limit");
    }
}
