// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.37;

import {IDocuments} from "../src/IDocuments.sol";
import {ISolverBonds} from "../src/ISolverBonds.sol";
import {SessionAccount} from "../src/SessionAccount.sol";
import {AwardedFill, Awards, SignedAward} from "./Awards.sol";
import {Batch, Line, SettledIntent, SettledMandate, SettledOffer} from "./Batch.sol";
import {Bulk} from "./Bulk.sol";
import {MarketTest} from "./MarketTest.sol";

/// @title Auctions at random, and batches of what they awarded, most of it as it was signed
/// @dev A batch is of the documents of one nonce: what two sellers offer, and what three accounts demand, one
/// of them by a session key, and one by a mandate too.
abstract contract AwardMarket is MarketTest {
    /// @dev What is changed of an award after it was signed, or who signed it.
    enum Fault {
        None,
        SignedByKey,
        OtherSolver,
        OtherAuction,
        LaterDeadline,
        OtherCharge,
        OtherTick,
        OtherUnits
    }

    struct Auction {
        uint64 nonce;
        uint64 deadlineBlock;
        address solver;
        bool isPenalised;
        AwardedFill[] fills;
    }

    /// @dev An auction's fills as a batch has them.
    struct Section {
        uint256 auction;
        Fault fault;
        AwardedFill[] fills;
    }

    /// @dev What a line was made from. `fill` is 0 without an award, else the number of the awarded fill in its
    /// batch; that is the one at `index` of its auction.
    struct Made {
        uint256 batch;
        uint256 demand;
        uint64 nonce;
        uint256 offer;
        uint256 auction;
        uint256 fill;
        uint256 index;
        Fault fault;
    }

    uint64 internal constant NONCES = 4;
    uint256 internal constant ACCOUNTS = 4;
    uint256 internal constant SELLERS = 2;
    /// @dev The last of the demands is by mandate, of the account of the first.
    uint256 internal constant DEMANDS = 4;
    uint256 internal constant MANDATE = DEMANDS - 1;
    uint64 internal constant UNITS = 80;
    uint64 internal constant MANDATE_TICK = 3_000_000;
    uint96 internal constant MANDATE_LIMIT = 400;
    uint256 internal constant TICK = 1_000_000;
    uint256 internal constant FILLS_MAX = 4;

    Party internal solver;
    Party internal maker;
    Party internal agent;
    SessionAccount internal wallet;
    Auction[] internal auctions;
    mapping(uint64 nonce => uint256[]) private _auctionsOf;
    mapping(bytes32 line => Made) internal made;

    function setUp() public virtual override {
        super.setUp();
        (solver, maker, agent) = (_party("solver"), _party("maker"), _party("agent"));
        wallet = _account(_party("owner of the wallet"));
    }

    // ------------------------------------------------------------------ documents

    /// @dev Both sellers' offers of a nonce, in the order that the contract asks for.
    function _offers(uint64 nonce) private view returns (SettledOffer[] memory offers) {
        offers = new SettledOffer[](SELLERS);
        for (uint256 i = 0; i < SELLERS; ++i) {
            offers[i] = _signed(_offerAt(i, nonce), _sellerAt(i));
        }
    }

    function _offerAt(uint256 place, uint64 nonce)
        private
        view
        returns (SettledOffer memory offer)
    {
        offer = _offer(_sellerAt(place).addr, nonce, UNITS, _offerLimit(place, nonce));
        offer.validUntil = NOW + 30 days;
    }

    /// @dev Of some, each execution has to serve a few units.
    function _intentOf(uint256 demand, uint64 nonce)
        private
        view
        returns (SettledIntent memory intent)
    {
        uint96 limit = _intentLimit(demand, nonce);
        intent = _intent(_buyerOf(demand), _nonceOf(demand, nonce), UNITS, limit);
        intent.validUntil = NOW + 30 days;
        if (nonce % 3 == 0) intent.unitsMin = 8;
        if (demand == 0) return _signed(intent, buyer);
        if (demand == 2) return _signed(intent, solver);
        intent.authority = SESSION;
        return _signed(intent, agent);
    }

    function _mandateOf(uint64 nonce) private view returns (SettledMandate memory mandate) {
        mandate = _mandate(_buyerOf(MANDATE), _nonceOf(MANDATE, nonce), MANDATE_LIMIT);
        mandate.tickMax = MANDATE_TICK;
        mandate.validUntil = NOW + 30 days;
        return _signed(mandate, buyer);
    }

    /// @dev A batch of the documents of a nonce, with these lines of each demand.
    function _encode(uint64 nonce, Section[] memory sections, Line[][] memory lines)
        internal
        view
        returns (bytes memory)
    {
        SettledIntent[] memory intents = new SettledIntent[](MANDATE);
        for (uint256 i = 0; i < MANDATE; ++i) {
            intents[i] = _intentOf(i, nonce);
            intents[i].lines = lines[i];
        }
        SettledMandate memory mandate = _mandateOf(nonce);
        mandate.lines = lines[MANDATE];
        uint16 fills;
        bytes memory awards = abi.encodePacked(uint16(sections.length));
        for (uint256 i = 0; i < sections.length; ++i) {
            fills += uint16(sections[i].fills.length);
            awards = bytes.concat(awards, _encode(sections[i]));
        }
        if (fills == 0) awards = "";
        return Batch.encode(_offers(nonce), intents, _list(mandate), fills, awards);
    }

    function _encode(Section memory section) private view returns (bytes memory) {
        SignedAward memory signed = _awardOf(section.auction);
        bool isByKey = section.fault == Fault.SignedByKey;
        signed.signature =
            _sign(isByKey ? operatorKey : operatorOwner, Awards.digestOf(signed, settlement));
        if (section.fault == Fault.OtherSolver) signed.solver = operatorOwner.addr;
        if (section.fault == Fault.OtherAuction) ++signed.auction;
        if (section.fault == Fault.LaterDeadline) signed.deadlineBlock += 1000;
        return Awards.section(signed, section.fills);
    }

    /// @dev As it is signed, without the signature.
    function _awardOf(uint256 number) internal view returns (SignedAward memory) {
        Auction memory auction = auctions[number];
        bytes32 solution = Awards.rootOf(auction.fills);
        return
            SignedAward(
                uint64(number), auction.solver, solution, auction.deadlineBlock, CONTRACT, ""
            );
    }

    // ------------------------------------------------------------------ what is drawn

    /// @dev Up to FILLS_MAX fills of documents of this nonce, some at prices that somebody did not sign.
    function _drawAuction(uint64 nonce, uint256 seed) internal {
        _auctionsOf[nonce].push(auctions.length);
        Auction storage auction = auctions.push();
        auction.nonce = nonce;
        auction.deadlineBlock = uint64(block.number + _random(seed, "deadline") % 240);
        auction.solver = _random(seed, "solver") % 4 == 0 ? maker.addr : solver.addr;
        uint256 count = 1 + _random(seed, "fills") % FILLS_MAX;
        for (uint256 i = 0; i < count; ++i) {
            auction.fills.push(_drawFill(nonce, _random(seed, bytes32(i))));
        }
    }

    function _drawFill(uint64 nonce, uint256 seed) private view returns (AwardedFill memory fill) {
        uint256 demand = seed % DEMANDS;
        fill.offer = uint16(_random(seed, "offer") % SELLERS);
        (fill.buyer, fill.buyerNonce) = (_buyerOf(demand), _nonceOf(demand, nonce));
        (fill.seller, fill.sellerNonce) = (_sellerAt(fill.offer).addr, nonce);
        fill.units = uint64(1 + _random(seed, "units") % 20);
        fill.tick = uint64(1_800_000 + _random(seed, "tick") % 1_000_000);
        fill.charge = uint64(_random(seed, "charge") % 900_000);
    }

    /// @dev None to two of the latest auctions of this nonce, three in ten changed after they were signed.
    function _drawSections(uint64 nonce, uint256 seed)
        internal
        view
        returns (Section[] memory sections)
    {
        uint256[] storage numbers = _auctionsOf[nonce];
        uint256 count = numbers.length;
        sections = new Section[](count == 0 ? 0 : _random(seed, "sections") % 3);
        for (uint256 i = 0; i < sections.length; ++i) {
            uint256 dice = _random(seed, bytes32(i));
            uint256 back = dice % (count < 4 ? count : 4);
            sections[i].auction = numbers[count - 1 - back];
            sections[i].fills = auctions[sections[i].auction].fills;
            dice = (dice >> 8) % 24;
            if (dice <= uint256(type(Fault).max)) sections[i].fault = Fault(dice);
            AwardedFill memory first = sections[i].fills[0];
            if (sections[i].fault == Fault.OtherCharge) ++first.charge;
            if (sections[i].fault == Fault.OtherTick) ++first.tick;
            if (sections[i].fault == Fault.OtherUnits) ++first.units;
        }
    }

    /// @dev For each demand those of its fills, some of others' and some twice, and one that nobody awarded.
    function _drawLines(uint64 nonce, Section[] memory sections, uint256 seed)
        internal
        returns (Line[][] memory lines)
    {
        lines = new Line[][](DEMANDS);
        for (uint256 demand = 0; demand < DEMANDS; ++demand) {
            lines[demand] =
                _linesOf(demand, nonce, sections, _random(seed, bytes32(uint256(demand))));
        }
    }

    function _linesOf(uint256 demand, uint64 nonce, Section[] memory sections, uint256 seed)
        private
        returns (Line[] memory lines)
    {
        lines = new Line[](4 * FILLS_MAX + 1);
        uint256 count;
        Made memory told;
        (told.batch, told.demand, told.nonce) = (batchNumber, demand, nonce);
        if (seed % 3 == 0) lines[count++] = _plainLine(told, seed);
        for (uint256 i = 0; i < sections.length; ++i) {
            (told.auction, told.fault) = (sections[i].auction, sections[i].fault);
            for (uint256 j = 0; j < sections[i].fills.length; ++j) {
                ++told.fill;
                AwardedFill memory fill = sections[i].fills[j];
                (told.offer, told.index) = (fill.offer, j);
                seed = _random(seed, "fill");
                uint256 times = _timesOf(demand, fill, seed);
                for (uint256 k = 0; k < times; ++k) {
                    lines[count++] = _awardedLine(told, fill, _random(seed, bytes32(k)));
                }
            }
        }
        // Memory-safe: it becomes shorter.
        assembly ("memory-safe") {
            mstore(lines, count)
        }
    }

    function _timesOf(uint256 demand, AwardedFill memory fill, uint256 seed)
        private
        pure
        returns (uint256)
    {
        if (fill.buyerNonce / NONCES != 1 + demand) return seed % 16 == 0 ? 1 : 0;
        return seed % 8 == 0 ? 0 : seed % 8 == 1 ? 2 : 1;
    }

    function _awardedLine(Made memory told, AwardedFill memory fill, uint256 seed)
        private
        returns (Line memory line)
    {
        line.offer = uint16(SELLERS + told.fill - 1);
        line.units = uint64(1 + _random(seed, "units") % (fill.units + 1));
        line.delivered = line.units;
        if (seed % 4 == 0) line.delivered = uint64(_random(seed, "delivered") % (line.units + 2));
        uint256 payment = line.delivered * uint256(fill.tick) / TICK;
        uint256 dice = _random(seed, "payment") % 24;
        if (dice == 0) ++payment;
        if (dice == 1 && payment != 0) --payment;
        line.payment = uint96(payment);
        line.fill = bytes32(seed);
        made[line.fill] = told;
    }

    /// @dev Anywhere from one below the seller's limit to one above the buyer's.
    function _plainLine(Made memory told, uint256 seed) private returns (Line memory line) {
        told.offer = _random(seed, "offer") % SELLERS;
        line.offer = uint16(told.offer);
        line.units = uint64(1 + _random(seed, "units") % 12);
        line.delivered = uint64(_random(seed, "delivered") % (line.units + 2));
        uint256 least = uint256(line.delivered) * _offerLimit(told.offer, told.nonce) / UNITS;
        uint256 payment = least + _random(seed, "payment") % (2 * uint256(line.delivered) + 3);
        line.payment = uint96(payment == 0 ? 0 : payment - 1);
        line.fill = bytes32(seed);
        made[line.fill] = told;
    }

    /// @dev Of the fills from the solver's own offer, and what they are worth at most.
    function _drawShares(Auction memory auction, uint256 dice)
        internal
        view
        returns (ISolverBonds.Share[] memory shares, uint256 worth)
    {
        shares = new ISolverBonds.Share[](auction.fills.length);
        uint256 count;
        for (uint16 i = 0; i < auction.fills.length; ++i) {
            AwardedFill memory fill = auction.fills[i];
            if (fill.seller != solver.addr || auction.solver != solver.addr) continue;
            ISolverBonds.Share memory share = shares[count++];
            share.offer = _documentOf(_offerAt(fill.offer, auction.nonce));
            share.offerSignature = _sign(solver, settlement.offerDigest(share.offer));
            (share.buyer, share.buyerNonce) = (fill.buyer, fill.buyerNonce);
            (share.units, share.tick, share.charge) = (fill.units, fill.tick, fill.charge);
            share.proof = Bulk.proofOf(Awards.leavesOf(auction.fills), i);
            share.undelivered = uint64(_random(dice, bytes32(uint256(i))) % 24);
            share.amount = uint96((dice >> 8) % 60);
            uint256 units = share.undelivered < fill.units ? share.undelivered : fill.units;
            worth += units * fill.tick / TICK;
        }
        // Memory-safe: it becomes shorter.
        assembly ("memory-safe") {
            mstore(shares, count)
        }
    }

    function _documentOf(SettledOffer memory told)
        private
        pure
        returns (IDocuments.Offer memory offer)
    {
        offer.account = told.account;
        offer.resource = told.resource;
        offer.key = told.key;
        (offer.units, offer.limit) = (told.units, told.limit);
        (offer.windowUnits, offer.windowSeconds) = (told.windowUnits, told.windowSeconds);
        (offer.validFrom, offer.validUntil) = (told.validFrom, told.validUntil);
        (offer.epoch, offer.nonce) = (told.epoch, told.nonce);
    }

    // ------------------------------------------------------------------ parties and terms

    function _accountAt(uint256 who) internal view returns (address) {
        who %= ACCOUNTS;
        if (who == 0) return buyer.addr;
        if (who == 1) return address(wallet);
        return who == 2 ? solver.addr : maker.addr;
    }

    /// @dev By address, as offers are listed.
    function _sellerAt(uint256 place) internal view returns (Party memory) {
        return (place == 0) == (solver.addr < maker.addr) ? solver : maker;
    }

    function _buyerOf(uint256 demand) internal view returns (address) {
        return _accountAt(demand % MANDATE);
    }

    /// @dev A demand's nonces come after those of offers, and of the demand before.
    function _nonceOf(uint256 demand, uint64 nonce) internal pure returns (uint64) {
        return uint64(NONCES * (1 + demand)) + nonce - 1;
    }

    function _offerLimit(uint256 place, uint64 nonce) internal pure returns (uint96) {
        return uint96(80 + 20 * place + 5 * nonce);
    }

    function _intentLimit(uint256 demand, uint64 nonce) internal pure returns (uint96) {
        return uint96(170 + 15 * demand + 5 * nonce);
    }

    function _random(uint256 seed, bytes32 purpose) internal pure returns (uint256) {
        return uint256(keccak256(abi.encode(seed, purpose)));
    }
}
