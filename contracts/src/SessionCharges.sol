// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.37;

import {CapWord} from "./CapWord.sol";
import {SessionPolicy} from "./SessionPolicy.sol";

/// @title The words of sessions and of all that has a cap, and how a ledger charges them
/// @dev The part of the registry that settlement needs at hand; {SessionRegistry} has the rest. Its
/// storage has a place of its own (ERC-7201), so both can be inherited in any order, or by two
/// contracts of which one lends the other its storage.
///
/// The ledger keeps, in the word it has of each account anyway, the session epoch and whether there
/// is a root's word to read: so a key without a team costs one word more than none, and one
/// without a cap only the reading of it.
abstract contract SessionCharges {
    using CapWord for uint256;
    using SessionPolicy for SessionPolicy.Verdict;

    /// @dev A reference to it is hashed once for reading and writing.
    struct Place {
        uint256 word;
    }

    /// @custom:storage-location erc7201:keyfill.sessions
    /// @dev Words are beside it: see `_placeOf`.
    /// @param grantNonces first by account, then 256 to a word
    struct SessionStorage {
        mapping(address account => mapping(uint256 place => uint256 bits)) grantNonces;
    }

    /// @dev Of "keyfill.sessions".
    bytes32 private constant SESSION_STORAGE =
        0xcabc50a60ec3023d01d3aef619bb50d56228780867504bcc204d953acac24100;

    uint256 private constant BEARER_SHIFT = 160;

    // ------------------------------------------------------------------ what the ledger knows

    /// @dev Zero for an account that never revoked all.
    function _sessionEpochOf(address account) internal view virtual returns (uint24);

    /// @dev How long after its end a session still settles what it signed before.
    function _sessionGraceS() internal view virtual returns (uint256);

    // ------------------------------------------------------------------ what the ledger may ask

    /// @notice Charges `key` and all above it for an act, or nothing.
    /// @dev To come last, when nothing else can fail. The steps of SessionPolicy.evaluate, in its order.
    /// What is written is written at the end.
    /// @param resource zero for a total of acts, each of which was held against the key's terms: a receipt
    /// @param lines as {SessionPolicy.Act} says them
    function _charge(
        address root,
        address key,
        uint256 permission,
        uint256 amount,
        uint24 sessionEpoch,
        bool rootCapped,
        bytes32 resource,
        uint256 units,
        uint256[] memory lines
    ) internal returns (SessionPolicy.Verdict verdict) {
        Place storage place = _placeOf(SessionPolicy.Bearer.Key, root, _id(key));
        uint256 word = place.word;
        // Nearly every key is; if not, it is told why.
        if (!word.isLive(permission, sessionEpoch, block.timestamp, _sessionGraceS())) {
            verdict = SessionPolicy.sessionVerdict(
                word, permission, sessionEpoch, block.timestamp, _sessionGraceS()
            );
            if (!verdict.isAllowed()) return verdict;
        }
        uint256 counted;
        uint256 countedAfter;
        if (SessionPolicy.isTermed(word, resource)) {
            (verdict, counted, countedAfter) = _termsVerdict(root, key, resource, units, amount);
            if (!verdict.isAllowed()) return verdict;
        }
        (bool isCharged, uint256 wordAfter) = word.charge(amount, block.timestamp);
        if (!isCharged) return SessionPolicy.Verdict.KeyCapExceeded;
        uint256 team = word.teamOf();
        bool hasAbove;
        // Assembly: see SessionPolicy.isAllowed.
        assembly ("memory-safe") {
            hasAbove := iszero(iszero(or(team, rootCapped)))
        }
        if (hasAbove) {
            verdict = _chargeAbove(root, team, amount, rootCapped, lines);
            if (!verdict.isAllowed()) return verdict;
        }
        // A bearer without a cap is not written: its word has not changed.
        if (wordAfter != word) place.word = wordAfter;
        if (countedAfter != counted) {
            _setWord(SessionPolicy.Bearer.Units, root, _id(key), countedAfter);
        }
    }

    function _isSessionLive(address account, address key, uint256 permission)
        internal
        view
        returns (bool)
    {
        return SessionPolicy.sessionVerdict(
            _wordOf(SessionPolicy.Bearer.Key, account, _id(key)),
            permission,
            _sessionEpochOf(account),
            block.timestamp,
            0
        ) == SessionPolicy.Verdict.Allowed;
    }

    // ------------------------------------------------------------------ private: charges

    function _termsVerdict(
        address root,
        address key,
        bytes32 resource,
        uint256 units,
        uint256 amount
    ) private view returns (SessionPolicy.Verdict verdict, uint256 counted, uint256 countedAfter) {
        counted = _wordOf(SessionPolicy.Bearer.Units, root, _id(key));
        (verdict, countedAfter) = SessionPolicy.termsVerdict(
            _wordOf(SessionPolicy.Bearer.Terms, root, _id(key)),
            counted,
            resource,
            units,
            amount,
            block.timestamp
        );
    }

    /// @dev The team of the key, and the account. Nothing is written unless all is allowed.
    function _chargeAbove(
        address root,
        uint256 team,
        uint256 amount,
        bool rootCapped,
        uint256[] memory lines
    ) private returns (SessionPolicy.Verdict verdict) {
        uint256 teamWord = team == 0 ? 0 : _wordOf(SessionPolicy.Bearer.Team, root, team);
        uint256 rootWord = rootCapped ? _wordOf(SessionPolicy.Bearer.Root, root, 0) : 0;
        uint256 teamAfter;
        uint256 rootAfter;
        (verdict, teamAfter, rootAfter) =
            SessionPolicy.aboveVerdict(teamWord, rootWord, amount, block.timestamp);
        if (!verdict.isAllowed()) return verdict;
        SessionPolicy.CounterpartyRule rule = SessionPolicy.ruleOf(rootWord);
        if (rule != SessionPolicy.CounterpartyRule.Any && amount != 0) {
            verdict = _chargeCounterparties(root, rule, amount, lines);
            if (!verdict.isAllowed()) return verdict;
        }
        if (teamAfter != teamWord) _setWord(SessionPolicy.Bearer.Team, root, team, teamAfter);
        if (rootAfter != rootWord) _setWord(SessionPolicy.Bearer.Root, root, 0, rootAfter);
    }

    /// @dev All or none, and the last check: what it charges is what then moves.
    function _chargeCounterparties(
        address root,
        SessionPolicy.CounterpartyRule rule,
        uint256 amount,
        uint256[] memory lines
    ) private returns (SessionPolicy.Verdict verdict) {
        if (!SessionPolicy.areLinesValid(lines, amount)) {
            return SessionPolicy.Verdict.CounterpartiesInvalid;
        }
        uint256[] memory words = new uint256[](lines.length);
        for (uint256 i = 0; i < lines.length; ++i) {
            (verdict, words[i]) = SessionPolicy.counterpartyVerdict(
                rule,
                _wordOf(
                    SessionPolicy.Bearer.Counterparty, root, SessionPolicy.counterpartyOf(lines[i])
                ),
                SessionPolicy.amountOf(lines[i]),
                block.timestamp
            );
            if (!verdict.isAllowed()) return verdict;
        }
        for (uint256 i = 0; i < lines.length; ++i) {
            _setWord(
                SessionPolicy.Bearer.Counterparty,
                root,
                SessionPolicy.counterpartyOf(lines[i]),
                words[i]
            );
        }
    }

    // ------------------------------------------------------------------ internal: words

    function _id(address named) internal pure returns (uint256) {
        return uint160(named);
    }

    function _wordOf(SessionPolicy.Bearer bearer, address account, uint256 id)
        internal
        view
        returns (uint256)
    {
        return _placeOf(bearer, account, id).word;
    }

    function _setWord(SessionPolicy.Bearer bearer, address account, uint256 id, uint256 word)
        internal
    {
        _placeOf(bearer, account, id).word = word;
    }

    function _sessions() internal pure returns (SessionStorage storage sessions) {
        assembly ("memory-safe") {
            sessions.slot := SESSION_STORAGE
        }
    }

    /// @dev One hash of three words, which no hash for a mapping or an ERC-7201 place has, where nested
    /// mappings would take two hashes.
    function _placeOf(SessionPolicy.Bearer bearer, address account, uint256 id)
        private
        pure
        returns (Place storage place)
    {
        uint256 named = uint256(bearer) << BEARER_SHIFT | _id(account);
        // Memory-safe: beyond what is allocated.
        assembly ("memory-safe") {
            let start := mload(0x40)
            mstore(start, named)
            mstore(add(start, 0x20), id)
            mstore(add(start, 0x40), SESSION_STORAGE)
            place.slot := keccak256(start, 0x60)
        }
    }
}
