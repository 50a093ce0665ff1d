// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.37;

import {IClaims} from "../src/IClaims.sol";
import {IEscrow} from "../src/IEscrow.sol";
import {IMetered} from "../src/IMetered.sol";
import {ISessionRegistry} from "../src/ISessionRegistry.sol";
import {SessionPolicy} from "../src/SessionPolicy.sol";
import {MeteredLine, MeteredRecord, MeteredTest} from "./MeteredTest.sol";
import {Vm} from "./Vm.sol";

/// @title Four accounts that buy of each other by sums, and a second set of books
/// @dev By receipts of their own keys and of session keys, by the operator's word, and by claims; some are
/// forged, sent again, of an epoch before or of more than there is. What the contract says it did is
/// entered, from its events alone, and what broke a rule is counted.
contract MeteredHandler is MeteredTest {
    /// @dev A session key of one of the accounts, and all that it was charged.
    struct Key {
        uint256 place;
        uint96 cap;
        uint256[] times;
        uint256[] amounts;
    }

    /// @dev A claim that waits, as it was posted.
    struct Waiting {
        uint64 base;
        uint64 amount;
        uint256 executableAt;
        address signer;
        bytes lines;
        bytes32 receipt;
    }

    uint256 private constant PARTIES = 4;
    uint256 private constant KEYS = 3;
    uint96 private constant ROOT_CAP = 150_000;
    uint40 private constant PERIOD = 1 days;

    Party[] private _parties;
    Party[] private _keys;
    mapping(address key => Key) private _keyOf;
    /// @dev Charges of all keys of the first account, which has a cap over them.
    Key private _root;

    mapping(address account => uint256) private _ghostBalance;
    mapping(address account => uint256) private _ghostSpent;
    mapping(address account => uint256) private _ghostUncovered;
    mapping(address account => uint256) private _lastSpent;
    mapping(address account => uint256) private _requestedAt;
    mapping(address account => Waiting) private _waiting;
    mapping(bytes32 receipt => bool) private _isSettled;
    /// @dev Records as they were sent: to be sent again.
    bytes[] private _sent;
    uint256 private _ghostHeld;

    uint256 public recordsSettled;
    uint256 public recordsSkipped;
    uint256 public claimsPosted;
    uint256 public claimsReplaced;
    uint256 public claimsPaid;
    uint256 public claimsRefused;
    uint256 public withdrawals;
    uint256 public sessionCharges;

    uint256 public receiptsReused;
    uint256 public windowsExceeded;
    uint256 public withdrawnEarly;
    /// @dev Paid early, or though none was posted; replaced by a smaller one, or at another time.
    uint256 public claimsMistaken;
    uint256 public claimedWithdrawn;
    uint256 public spentFell;

    constructor() {
        setUp();
        _parties = [buyer, other, low, high];
        for (uint256 i = 1; i < PARTIES; ++i) {
            for (uint256 j = i; j > 0 && _parties[j].addr < _parties[j - 1].addr; --j) {
                Party memory lower = _parties[j];
                _parties[j] = _parties[j - 1];
                _parties[j - 1] = lower;
            }
        }
        for (uint16 i = 0; i < PARTIES; ++i) {
            listed[i] = _parties[i].addr;
            _ghostBalance[listed[i]] = _balance(listed[i]);
            _ghostHeld += _ghostBalance[listed[i]];
        }
        book = _deployBook(listed);
        sellers = [0, 1, 2, 3];
        for (uint256 i = 0; i < KEYS; ++i) {
            _keys.push(_party(string(abi.encode("metered key", i))));
            grant(i, uint96(150_000 + 50_000 * i));
        }
        vm.prank(listed[0]);
        _registry().setCap(SessionPolicy.Bearer.Root, 0, ROOT_CAP, PERIOD);
        _root.cap = ROOT_CAP;
    }

    // ------------------------------------------------------------------ the accounts' actions

    function deposit(uint256 who, uint256 amount) external {
        amount = _bound(amount, 1, 1e6);
        _fund(listed[who % PARTIES], amount);
        _ghostBalance[listed[who % PARTIES]] += amount;
        _ghostHeld += amount;
    }

    function requestWithdrawal(uint256 who, uint256 amount) external {
        address account = listed[who % PARTIES];
        vm.prank(account);
        settlement.requestWithdrawal(_bound(amount, 1, 2e7));
        _requestedAt[account] = block.timestamp;
    }

    /// @dev Tried at any time, early ones too.
    function withdraw(uint256 who) external {
        address account = listed[who % PARTIES];
        uint256 before = _balance(account);
        vm.prank(account);
        try settlement.withdraw(address(this)) returns (uint256 amount) {
            _ghostBalance[account] -= amount;
            _ghostHeld -= amount;
            ++withdrawals;
            if (block.timestamp < _requestedAt[account] + EXIT_DELAY) ++withdrawnEarly;
            uint256 claimed = _waiting[account].amount;
            uint256 owed = claimed < before ? claimed : before;
            if (before - amount < owed) ++claimedWithdrawn;
        } catch {}
    }

    /// @dev Rarely: receipts of an epoch that ended are void.
    function cancelAll(uint256 who) external {
        address account = listed[who % PARTIES];
        if (block.timestamp < settlement.accountOf(account).epochEffectiveAt) return;
        vm.prank(account);
        settlement.cancelAll();
    }

    function wait_(uint256 time) external {
        vm.warp(block.timestamp + _bound(time, 0, time % 8 == 0 ? 1 days : 30 minutes));
    }

    /// @dev Also what a revoked key gets by: its cap may change, what it spent stays.
    function grant(uint256 which, uint96 cap) public {
        uint256 index = which % KEYS;
        address key = _keys[index].addr;
        Key storage charged = _keyOf[key];
        charged.place = index / 2;
        charged.cap = uint96(_bound(cap, 50_000, 300_000));
        address account = listed[charged.place];
        ISessionRegistry.SessionGrant memory grant_;
        grant_.account = account;
        grant_.key = key;
        grant_.permissions = SessionPolicy.PERMISSION_RECEIPT;
        grant_.resource = keccak256("");
        (grant_.spend, grant_.period) = (charged.cap, PERIOD);
        grant_.expiresAt = uint40(block.timestamp + 1000 days);
        grant_.sessionEpoch = settlement.meterOf(account).sessionEpoch;
        vm.prank(account);
        _registry().grantSession(grant_);
    }

    function revoke(uint256 which) external {
        address key = _keys[which % KEYS].addr;
        address account = listed[_keyOf[key].place];
        vm.prank(account);
        _registry().revokeSession(account, key);
    }

    // ------------------------------------------------------------------ settlement

    /// @dev One to three records, of one buyer more than once at times.
    function settle(uint256 seed) external {
        MeteredRecord[] memory records = new MeteredRecord[](1 + seed % 3);
        bytes32[] memory receipts = new bytes32[](records.length);
        for (uint256 i = 0; i < records.length; ++i) {
            records[i] = _makeRecord(_random(seed, i));
            receipts[i] = keccak256(records[i].signature);
            if (_isLikeAnother(records, i)) return;
        }
        for (uint256 i = 0; i < records.length; ++i) {
            if (records[i].signature.length != 0) _sent.push(abi.encode(records[i]));
        }
        vm.recordLogs();
        vm.prank(address(operator));
        settlement.settleMetered(number++, ROOT, _encode(records));
        _enterBatch(vm.getRecordedLogs(), records, receipts);
    }

    /// @dev Of the same buyer and sum as one before it, and not the same: events would not tell which settled.
    function _isLikeAnother(MeteredRecord[] memory records, uint256 last)
        private
        pure
        returns (bool)
    {
        MeteredRecord memory record = records[last];
        for (uint256 i = 0; i < last; ++i) {
            if (
                records[i].buyer == record.buyer && _sum(records[i].lines) == _sum(record.lines)
                    && keccak256(abi.encode(records[i])) != keccak256(abi.encode(record))
            ) return true;
        }
        return false;
    }

    /// @dev As the buyer, or a key of it, signs from where the ledger is; or what was sent before.
    function _makeRecord(uint256 seed) private view returns (MeteredRecord memory record) {
        uint256 kind = seed % 8;
        if (kind == 7 && _sent.length != 0) {
            return abi.decode(_sent[_random(seed, 1) % _sent.length], (MeteredRecord));
        }
        if (kind > 4) {
            uint16 place = uint16(_random(seed, 2) % PARTIES);
            return _attested(place, _makeLines(_random(seed, 3), place, 600_000));
        }
        return kind < 3 ? _makeReceipt(seed) : _makeSessionReceipt(seed);
    }

    /// @dev Of the epoch before at times, and forged at times.
    function _makeReceipt(uint256 seed) private view returns (MeteredRecord memory record) {
        uint16 place = uint16(_random(seed, 2) % PARTIES);
        record.buyer = place;
        record.lines = _makeLines(_random(seed, 3), place, _random(seed, 4) % 8 == 0 ? 1e7 : 2e5);
        IMetered.SpendReceipt memory receipt = _receiptOf(place, record.lines);
        if (_random(seed, 5) % 4 == 0 && receipt.epoch != 0) {
            record.flags = EPOCH_BEFORE;
            --receipt.epoch;
        }
        uint256 signer = _random(seed, 6) % 16 == 0 ? place + 1 : place;
        record.signature = _sign(_parties[signer % PARTIES], settlement.receiptDigest(receipt));
    }

    function _makeSessionReceipt(uint256 seed) private view returns (MeteredRecord memory record) {
        Party memory key = _keys[_random(seed, 2) % KEYS];
        uint16 place = uint16(_keyOf[key.addr].place);
        record = _receipt(place, _makeLines(_random(seed, 3), place, 30_000), key);
        record.flags = SESSION;
    }

    /// @dev To one or two others, ascending.
    function _makeLines(uint256 seed, uint16 place, uint256 most)
        private
        pure
        returns (MeteredLine[] memory lines)
    {
        uint16 first = uint16((place + 1 + seed % 3) % PARTIES);
        uint16 second = uint16((place + 1 + _random(seed, 1) % 3) % PARTIES);
        lines = new MeteredLine[](first == second ? 1 : 2);
        lines[0] = MeteredLine(first < second ? first : second, uint64(_random(seed, 2) % most));
        if (first == second) return lines;
        lines[1] = MeteredLine(first < second ? second : first, uint64(_random(seed, 3) % most));
    }

    // ------------------------------------------------------------------ claims

    /// @dev By the account or a key of it; at times of another base than the ledger's.
    function claim(uint256 seed) external {
        bool isSession = seed % 2 == 0;
        Party memory signer =
            isSession ? _keys[_random(seed, 1) % KEYS] : _parties[_random(seed, 1) % 4];
        uint16 place = isSession ? uint16(_keyOf[signer.addr].place) : _placeOf(signer.addr);
        MeteredLine[] memory lines =
            _makeLines(_random(seed, 2), place, _random(seed, 3) % 8 == 0 ? 1e7 : 1e5);
        IMetered.SpendReceipt memory receipt = _receiptOf(place, lines);
        if (_random(seed, 4) % 16 == 0) {
            receipt.base += 1;
            receipt.spent += 1;
        }
        bytes memory signature = _sign(signer, settlement.receiptDigest(receipt));
        uint8 authority = isSession ? SESSION : PLAIN;
        try settlement.claimReceipt(receipt, _packed(lines), authority, signature) returns (
            uint256 executableAt
        ) {
            _enterClaim(receipt, _packed(lines), signer.addr, executableAt, keccak256(signature));
        } catch {
            ++claimsRefused;
        }
    }

    /// @dev Tried at any time, early ones too.
    function executeClaim(uint256 who) external {
        address account = listed[who % PARTIES];
        Waiting memory waiting = _waiting[account];
        vm.recordLogs();
        try settlement.executeClaim(account, waiting.lines) returns (uint256 paid) {
            if (waiting.amount == 0 || block.timestamp < waiting.executableAt) ++claimsMistaken;
            if (paid > waiting.amount) ++receiptsReused;
            if (paid != 0) _useReceipt(waiting.receipt);
            (,, bytes memory told) =
                abi.decode(_dataOf(IClaims.ClaimExecuted.selector), (uint64, uint256, bytes));
            _takeFrom(account, paid);
            _ghostUncovered[account] = 0;
            delete _waiting[account];
            vm.assertEq(_creditSellers(told), paid, "sellers get what the claim takes");
            ++claimsPaid;
        } catch {
            ++claimsRefused;
        }
    }

    // ------------------------------------------------------------------ books

    function _enterBatch(
        Vm.Log[] memory logs,
        MeteredRecord[] memory records,
        bytes32[] memory receipts
    ) private {
        for (uint256 i = 0; i < logs.length; ++i) {
            if (logs[i].topics[0] == IMetered.RecordSkipped.selector) ++recordsSkipped;
            if (logs[i].topics[0] != IMetered.MeteredSettled.selector) continue;
            (uint256 paid, bytes memory buyers, bytes memory credited) =
                abi.decode(logs[i].data, (uint256, bytes, bytes));
            vm.assertEq(_enterBuyers(buyers, records, receipts), paid, "buyers pay what is paid");
            vm.assertEq(_creditSellers(credited), paid, "sellers get what is paid");
        }
    }

    /// @dev Settled records are told in their order: the next one that is told is the next one that fits.
    function _enterBuyers(
        bytes memory buyers,
        MeteredRecord[] memory records,
        bytes32[] memory receipts
    ) private returns (uint256 paid) {
        uint256 read;
        for (uint256 i = 0; i < records.length && read < buyers.length; ++i) {
            (address account, uint256 amount, uint256 authority) = _told(buyers, read);
            if (
                account != listed[records[i].buyer] || amount != _sum(records[i].lines)
                    || authority != records[i].flags & 3
            ) continue;
            read += 37;
            paid += amount;
            ++recordsSettled;
            _takeFrom(account, amount);
            if (authority == ATTESTED) {
                _ghostUncovered[account] += amount;
                continue;
            }
            _ghostUncovered[account] = 0;
            _useReceipt(receipts[i]);
            if (authority == SESSION) {
                address signer = _signerOf(account, records[i], amount);
                _charge(signer, _restOf(account, signer, amount));
            }
            delete _waiting[account];
        }
        vm.assertEq(read, buyers.length, "no buyer is told of who has no record");
    }

    /// @dev account address, spent u64, paid u64, authority u8.
    function _told(bytes memory buyers, uint256 start)
        private
        pure
        returns (address account, uint256 amount, uint256 authority)
    {
        uint256 head;
        uint256 tail;
        assembly ("memory-safe") {
            head := mload(add(add(buyers, 0x20), start))
            tail := mload(add(add(buyers, 0x25), start))
        }
        return (address(uint160(head >> 96)), (tail >> 8) & type(uint64).max, uint8(tail));
    }

    /// @dev account address, credited u64 for each.
    function _creditSellers(bytes memory told) private returns (uint256 sum) {
        for (uint256 start = 0; start < told.length; start += 28) {
            uint256 word;
            assembly ("memory-safe") {
                word := mload(add(add(told, 0x20), start))
            }
            uint256 amount = (word >> 32) & type(uint64).max;
            _ghostBalance[address(uint160(word >> 96))] += amount;
            sum += amount;
        }
    }

    function _takeFrom(address account, uint256 amount) private {
        _ghostBalance[account] -= amount;
        _ghostSpent[account] += amount;
        uint256 spent = _spent(account);
        if (spent < _lastSpent[account]) ++spentFell;
        _lastSpent[account] = spent;
    }

    function _useReceipt(bytes32 receipt) private {
        if (_isSettled[receipt]) ++receiptsReused;
        _isSettled[receipt] = true;
    }

    /// @dev A key whose claim waits is charged for what is new alone.
    function _restOf(address account, address signer, uint256 amount)
        private
        view
        returns (uint256)
    {
        Waiting storage waiting = _waiting[account];
        if (waiting.amount == 0 || waiting.signer != signer) return amount;
        return amount > waiting.amount ? amount - waiting.amount : 0;
    }

    function _enterClaim(
        IMetered.SpendReceipt memory receipt,
        bytes memory lines,
        address signer,
        uint256 executableAt,
        bytes32 hash
    ) private {
        Waiting storage waiting = _waiting[receipt.account];
        uint64 amount = receipt.spent - receipt.base;
        bool isReplaced = waiting.amount != 0;
        uint256 expected = isReplaced ? waiting.executableAt : block.timestamp + EXIT_DELAY;
        if (executableAt != expected || amount <= waiting.amount) ++claimsMistaken;
        if (signer != receipt.account) {
            _charge(signer, _restOf(receipt.account, signer, amount));
        }
        _waiting[receipt.account] = Waiting(receipt.base, amount, executableAt, signer, lines, hash);
        ++claimsPosted;
        if (isReplaced) ++claimsReplaced;
    }

    /// @dev Nothing is within any cap, also one that was lowered below what was charged.
    function _charge(address key, uint256 amount) private {
        if (amount == 0) return;
        ++sessionCharges;
        _chargeBearer(_keyOf[key], amount);
        if (_keyOf[key].place == 0) _chargeBearer(_root, amount);
    }

    /// @dev The charge is new: windows that end with earlier ones were looked at then.
    function _chargeBearer(Key storage bearer, uint256 amount) private {
        bearer.times.push(block.timestamp);
        bearer.amounts.push(amount);
        uint256 sum;
        for (uint256 i = bearer.times.length; i > 0; --i) {
            if (bearer.times[i - 1] + PERIOD < block.timestamp) break;
            sum += bearer.amounts[i - 1];
        }
        if (sum > bearer.cap) ++windowsExceeded;
    }

    /// @dev Which key of the account signed: its base was what was spent before the amount.
    function _signerOf(address account, MeteredRecord memory record, uint256 amount)
        private
        view
        returns (address)
    {
        IMetered.SpendReceipt memory receipt = _receiptOf(record.buyer, record.lines);
        receipt.base = uint64(_ghostSpent[account] - amount);
        receipt.spent = uint64(_ghostSpent[account]);
        bytes32 digest = settlement.receiptDigest(receipt);
        for (uint256 i = 0; i < KEYS; ++i) {
            if (keccak256(_sign(_keys[i], digest)) == keccak256(record.signature)) {
                return _keys[i].addr;
            }
        }
        revert("a session's receipt that no key signed");
    }

    function _placeOf(address account) private view returns (uint16 place) {
        while (listed[place] != account) ++place;
    }

    function _dataOf(bytes32 topic) private returns (bytes memory data) {
        Vm.Log[] memory logs = vm.getRecordedLogs();
        for (uint256 i = 0; i < logs.length; ++i) {
            if (logs[i].topics[0] == topic) data = logs[i].data;
        }
    }

    function _random(uint256 seed, uint256 purpose) private pure returns (uint256) {
        return uint256(keccak256(abi.encode(seed, purpose)));
    }

    // ------------------------------------------------------------------ what must hold

    /// @dev What is claimed is still the buyer's: it is held within the balance.
    function checkBalances() external view {
        uint256 sum;
        for (uint256 i = 0; i < PARTIES; ++i) {
            uint256 balance = _balance(listed[i]);
            vm.assertEq(balance, _ghostBalance[listed[i]], "balance as rebuilt from events");
            sum += balance;
        }
        vm.assertEq(sum, usdc.balanceOf(address(settlement)), "balances sum to what is held");
        vm.assertEq(sum, _ghostHeld, "only deposits and withdrawals change what is held");
    }

    function checkSpent() external view {
        vm.assertEq(spentFell, 0, "spent fell");
        for (uint256 i = 0; i < PARTIES; ++i) {
            vm.assertEq(_spent(listed[i]), _ghostSpent[listed[i]], "spent is what was taken");
        }
    }

    function checkUncovered() external view {
        for (uint256 i = 0; i < PARTIES; ++i) {
            uint256 uncovered = _uncovered(listed[i]);
            vm.assertEq(uncovered, _ghostUncovered[listed[i]], "attested since the last receipt");
            vm.assertLe(uncovered, UNCOVERED_CAP, "uncovered above its cap");
        }
    }

    function checkExits() external view {
        vm.assertEq(withdrawnEarly, 0, "withdrawn before its delay");
        vm.assertEq(claimedWithdrawn, 0, "withdrawn what was claimed");
    }

    function checkClaims() external view {
        vm.assertEq(settlement.claimDelay(), settlement.exitDelay(), "claims are no faster exit");
        vm.assertEq(claimsMistaken, 0, "paid before its time, or replaced to another");
        for (uint256 i = 0; i < PARTIES; ++i) {
            Waiting storage waiting = _waiting[listed[i]];
            bool isClaimed = settlement.meterOf(listed[i]).isClaimed;
            vm.assertTrue(isClaimed == (waiting.amount != 0), "waiting, or not");
            if (!isClaimed) continue;
            IClaims.Claim memory stored = settlement.claimOf(listed[i]);
            vm.assertEq(stored.executableAt, waiting.executableAt, "the first one's time");
            vm.assertEq(stored.base, _spent(listed[i]), "from where the ledger is");
        }
    }
}

contract MeteredInvariantTest is MeteredTest {
    MeteredHandler private _handler;

    function setUp() public override {
        _handler = new MeteredHandler();
        _target(address(_handler));
    }

    function targetSelectors() external view returns (FuzzSelector[] memory targets) {
        bytes4[] memory selectors = new bytes4[](16);
        selectors[0] = MeteredHandler.deposit.selector;
        selectors[1] = MeteredHandler.requestWithdrawal.selector;
        selectors[2] = MeteredHandler.withdraw.selector;
        selectors[3] = MeteredHandler.cancelAll.selector;
        selectors[4] = MeteredHandler.grant.selector;
        selectors[5] = MeteredHandler.revoke.selector;
        selectors[6] = MeteredHandler.wait_.selector;
        selectors[7] = MeteredHandler.wait_.selector;
        selectors[8] = MeteredHandler.claim.selector;
        selectors[9] = MeteredHandler.claim.selector;
        selectors[10] = MeteredHandler.executeClaim.selector;
        selectors[11] = MeteredHandler.executeClaim.selector;
        for (uint256 i = 12; i < 16; ++i) {
            selectors[i] = MeteredHandler.settle.selector;
        }
        targets = new FuzzSelector[](1);
        targets[0] = FuzzSelector(address(_handler), selectors);
    }

    /// @dev All in one campaign: what costs is the calls, and after each of them all of it is looked at.
    function invariant_meteredBooksHold() public view {
        _handler.checkBalances();
        _handler.checkSpent();
        _handler.checkUncovered();
        _handler.checkExits();
        _handler.checkClaims();
        vm.assertEq(_handler.receiptsReused(), 0, "a receipt counted twice");
        vm.assertEq(_handler.windowsExceeded(), 0, "more than its cap in a window");
    }

    /// @dev The canary: runs in which nothing is settled, claimed or refused would prove nothing.
    function test_handler_settlesClaimsAndRefuses() public {
        for (uint256 i = 0; i < 150; ++i) {
            uint256 seed = uint256(keccak256(abi.encode("canary", i)));
            _handler.settle(seed);
            if (i % 2 == 0) _handler.claim(seed >> 8);
            if (i % 2 == 1) _handler.claim(seed >> 8);
            if (i % 3 == 0) _handler.executeClaim(seed >> 16);
            if (i % 5 == 0) _handler.requestWithdrawal(seed >> 24, seed >> 32);
            if (i % 2 == 0) _handler.withdraw(seed >> 40);
            if (i % 16 == 0) _handler.cancelAll(seed >> 48);
            if (i % 8 == 0) _handler.grant(seed >> 56, uint96(seed >> 64));
            if (i % 32 == 0) _handler.revoke(seed >> 56);
            _handler.wait_(seed >> 72);
        }
        vm.assertGe(_handler.recordsSettled(), 60, "too few records settled");
        vm.assertGe(_handler.recordsSkipped(), 60, "too few records skipped");
        vm.assertGe(_handler.claimsPosted(), 30, "too few claims");
        vm.assertGe(_handler.claimsReplaced(), 3, "too few claims replaced");
        vm.assertGe(_handler.claimsPaid(), 3, "too few claims paid");
        vm.assertGe(_handler.claimsRefused(), 10, "too few claims refused");
        vm.assertGe(_handler.withdrawals(), 3, "too few withdrawals");
        vm.assertGe(_handler.sessionCharges(), 20, "too few charges");
    }
}
