// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.37;

import {CapWord} from "./CapWord.sol";
import {ISessionRegistry} from "./ISessionRegistry.sol";
import {MarketTypes} from "./MarketTypes.sol";

/// @title What a session key may do: pure, and the same as `intents.policy`
/// @notice A key is asked for an act: a permission, atoms that move and, where it is known what is
/// bought, resource and units. Either all words that the act touches change, or none.
/// @dev The registry takes the same steps with words of its storage, each read only if needed.
library SessionPolicy {
    using CapWord for uint256;

    /// @notice Whether an act is allowed. Of several reasons the first of this order is told.
    enum Verdict {
        Allowed,
        /// @dev Never granted, revoked, or of an ended session epoch.
        NotLive,
        Expired,
        PermissionMissing,
        ResourceForbidden,
        PriceAboveTick,
        UnitsExceeded,
        KeyCapExceeded,
        TeamCapExceeded,
        RootCapExceeded,
        /// @dev Not told strictly ascending, or not adding up to the act's atoms.
        CounterpartiesInvalid,
        CounterpartyUnlisted,
        CounterpartyCapExceeded
    }

    /// @notice What holds for whom an account pays, whichever of its keys does.
    enum CounterpartyRule {
        Any,
        /// @dev Within the counterparty's cap, if it has one.
        Capped,
        /// @dev Only who has a cap, and within it.
        Listed
    }

    /// @notice What a word is of. A key, its units and terms, and a counterparty are named by
    /// address, a team by number, the account itself by 0.
    enum Bearer {
        Key,
        Team,
        Root,
        Counterparty,
        /// @dev A key's cap on units.
        Units,
        /// @dev No cap: a key's resource and price.
        Terms
    }

    /// @dev All that an act can touch. Zero for what there is not; `team` is that of the key.
    struct Words {
        uint256 key;
        uint256 terms;
        uint256 units;
        uint256 team;
        uint256 root;
        uint256[] counterparties;
    }

    /// @param permission bits; all of them are needed
    /// @param resource keccak256 of its name; zero for a total of unknown acts, as a receipt is one:
    /// its terms were kept before each call, and can be held against the leaves of a batch
    /// @param units delivered
    /// @param amount atoms
    /// @param sessionEpoch the account's
    /// @param graceS how long after its end a session still settles
    /// @param lines who gets how much: counterparty << 96 | atoms, strictly ascending. Looked at only
    /// if the account has a rule for counterparties
    struct Act {
        uint256 permission;
        bytes32 resource;
        uint256 units;
        uint256 amount;
        uint24 sessionEpoch;
        uint256 time;
        uint256 graceS;
        uint256[] lines;
    }

    uint8 internal constant PERMISSION_SETTLE = 1;
    /// @dev Intents, offers and mandates.
    uint8 internal constant PERMISSION_SIGN = 2;
    uint8 internal constant PERMISSION_CANCEL = 4;
    uint8 internal constant PERMISSION_SPEND = 8;
    uint8 internal constant PERMISSION_RECEIPT = 16;
    /// @dev May end sessions of the account, and nothing else.
    uint8 internal constant PERMISSION_GUARD = 32;
    /// @dev Not a permission: beside the key's word there are its terms.
    uint8 internal constant TERMED = 128;

    /// @dev Of a line: atoms below, the counterparty above.
    uint256 private constant LINE_AMOUNT_BITS = 96;
    uint256 private constant LINE_AMOUNT_MAX = (1 << LINE_AMOUNT_BITS) - 1;

    /// @dev Terms: a price below, the upper 192 bits of the resource's hash above; zero limits nothing.
    uint256 private constant TICK_MASK = type(uint64).max;

    /// @notice The whole evaluation. Changes `words` only if the act is allowed.
    function evaluate(Words memory words, Act memory act) internal pure returns (Verdict verdict) {
        verdict = sessionVerdict(words.key, act.permission, act.sessionEpoch, act.time, act.graceS);
        if (verdict != Verdict.Allowed) return verdict;
        uint256 units = words.units;
        if (isTermed(words.key, act.resource)) {
            (verdict, units) =
                termsVerdict(words.terms, units, act.resource, act.units, act.amount, act.time);
            if (verdict != Verdict.Allowed) return verdict;
        }
        (bool isCharged, uint256 key) = words.key.charge(act.amount, act.time);
        if (!isCharged) return Verdict.KeyCapExceeded;
        uint256 team;
        uint256 root;
        (verdict, team, root) = aboveVerdict(words.team, words.root, act.amount, act.time);
        if (verdict != Verdict.Allowed) return verdict;
        CounterpartyRule rule = ruleOf(words.root);
        if (rule != CounterpartyRule.Any && act.amount != 0) {
            uint256[] memory counterparties;
            (verdict, counterparties) = _counterparties(words, act, rule);
            if (verdict != Verdict.Allowed) return verdict;
            words.counterparties = counterparties;
        }
        (words.key, words.units, words.team, words.root) = (key, units, team, root);
    }

    // ------------------------------------------------------------------ steps

    /// @dev Assembly, because the compiler would hold the verdict against the range of its type first, for
    /// as much gas as the comparison costs.
    function isAllowed(Verdict verdict) internal pure returns (bool result) {
        assembly ("memory-safe") {
            result := iszero(verdict)
        }
    }

    /// @notice Whether the key may act in this way at all.
    function sessionVerdict(
        uint256 key,
        uint256 permission,
        uint24 sessionEpoch,
        uint256 time,
        uint256 graceS
    ) internal pure returns (Verdict) {
        uint256 permissions = key.permissionsOf();
        if (permissions == 0 || key.sessionEpochOf() != sessionEpoch) return Verdict.NotLive;
        // Unchecked: 32 bits, and a delay of the ledger's.
        unchecked {
            if (time > key.expiresAtOf() + graceS) return Verdict.Expired;
        }
        return permissions & permission == permission ? Verdict.Allowed : Verdict.PermissionMissing;
    }

    /// @notice Whether what is bought is within the key's terms; counts its units.
    function termsVerdict(
        uint256 terms,
        uint256 units,
        bytes32 resource,
        uint256 delivered,
        uint256 amount,
        uint256 time
    ) internal pure returns (Verdict, uint256) {
        uint256 named = terms & ~TICK_MASK;
        if (named != 0 && named != uint256(resource) & ~TICK_MASK) {
            return (Verdict.ResourceForbidden, units);
        }
        // p <= floor(d * t / 10^6) if and only if p * 10^6 <= d * t.
        uint256 tickMax = terms & TICK_MASK;
        if (tickMax != 0 && amount * MarketTypes.TICK_UNITS > delivered * tickMax) {
            return (Verdict.PriceAboveTick, units);
        }
        bool charged;
        (charged, units) = units.charge(delivered, time);
        return (charged ? Verdict.Allowed : Verdict.UnitsExceeded, units);
    }

    /// @notice Charges what is above a key: its team, and its account. What comes back counts only if allowed.
    function aboveVerdict(uint256 team, uint256 root, uint256 amount, uint256 time)
        internal
        pure
        returns (Verdict verdict, uint256 teamAfter, uint256 rootAfter)
    {
        bool isCharged;
        (isCharged, teamAfter) = team.charge(amount, time);
        if (!isCharged) return (Verdict.TeamCapExceeded, team, root);
        (isCharged, rootAfter) = root.charge(amount, time);
        if (!isCharged) return (Verdict.RootCapExceeded, team, root);
    }

    /// @notice Charges one counterparty.
    function counterpartyVerdict(
        CounterpartyRule rule,
        uint256 counterparty,
        uint256 amount,
        uint256 time
    ) internal pure returns (Verdict, uint256) {
        if (rule == CounterpartyRule.Listed && !counterparty.isCapped()) {
            return (Verdict.CounterpartyUnlisted, counterparty);
        }
        bool charged;
        (charged, counterparty) = counterparty.charge(amount, time);
        return (charged ? Verdict.Allowed : Verdict.CounterpartyCapExceeded, counterparty);
    }

    /// @notice Whether lines ascend strictly by counterparty and add up to `amount`.
    function areLinesValid(uint256[] memory lines, uint256 amount) internal pure returns (bool) {
        uint256 sum;
        uint256 previous;
        for (uint256 i = 0; i < lines.length; ++i) {
            uint256 counterparty = counterpartyOf(lines[i]);
            if (i != 0 && counterparty <= previous) return false;
            previous = counterparty;
            sum += amountOf(lines[i]);
        }
        return sum == amount;
    }

    function lineOf(address counterparty, uint96 amount) internal pure returns (uint256) {
        return uint256(uint160(counterparty)) << LINE_AMOUNT_BITS | amount;
    }

    function counterpartyOf(uint256 line) internal pure returns (uint256) {
        return line >> LINE_AMOUNT_BITS;
    }

    function amountOf(uint256 line) internal pure returns (uint256) {
        return line & LINE_AMOUNT_MAX;
    }

    // ------------------------------------------------------------------ grants

    /// @notice A key's words after a valid grant, whatever they were: what was charged stays. Terms and
    /// units mean nothing where the grant has no terms.
    function granted(
        uint256 key,
        uint256 units,
        ISessionRegistry.SessionGrant calldata grant,
        uint256 time
    ) internal pure returns (uint256, uint256, uint256) {
        uint8 permissions = grant.permissions;
        if (hasTerms(grant)) {
            permissions |= TERMED;
            units = _capped(units, grant.units, grant.period, time);
        }
        key = _capped(key, grant.spend, grant.period, time);
        // The cast is safe: a valid grant ends within 32 bits.
        key = key.withSession(uint32(grant.expiresAt), grant.sessionEpoch, permissions, grant.team);
        return (key, termsOf(grant.resource, grant.tickMax), units);
    }

    /// @notice Whether the grant limits more than atoms.
    function hasTerms(ISessionRegistry.SessionGrant calldata grant) internal pure returns (bool) {
        return termsOf(grant.resource, grant.tickMax) != 0 || grant.units != 0;
    }

    // ------------------------------------------------------------------ words

    /// @notice Whether the key has terms, and it is known what to hold against them.
    function isTermed(uint256 key, bytes32 resource) internal pure returns (bool) {
        return resource != 0 && key.permissionsOf() & TERMED != 0;
    }

    /// @param resource the hash of an empty name for any
    function termsOf(bytes32 resource, uint64 tickMax) internal pure returns (uint256) {
        uint256 named = resource == MarketTypes.RESOURCE_EMPTY ? 0 : uint256(resource) & ~TICK_MASK;
        return named | tickMax;
    }

    /// @notice The account's rule, which its root's word keeps where a key's has permissions.
    function ruleOf(uint256 root) internal pure returns (CounterpartyRule) {
        return CounterpartyRule(root.permissionsOf());
    }

    // ------------------------------------------------------------------ private

    function _capped(uint256 word, uint256 cap, uint256 period, uint256 time)
        private
        pure
        returns (uint256)
    {
        return cap == 0 ? word.withoutCap() : word.withCap(cap, period, time);
    }

    function _counterparties(Words memory words, Act memory act, CounterpartyRule rule)
        private
        pure
        returns (Verdict verdict, uint256[] memory counterparties)
    {
        uint256[] memory lines = act.lines;
        if (!areLinesValid(lines, act.amount)) {
            return (Verdict.CounterpartiesInvalid, counterparties);
        }
        counterparties = new uint256[](lines.length);
        for (uint256 i = 0; i < lines.length; ++i) {
            (verdict, counterparties[i]) =
                counterpartyVerdict(rule, words.counterparties[i], amountOf(lines[i]), act.time);
            if (verdict != Verdict.Allowed) return (verdict, counterparties);
        }
    }
}
