// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.37;

import {CapWord} from "./CapWord.sol";
import {ISessionRegistry} from "./ISessionRegistry.sol";
import {SessionPolicy} from "./SessionPolicy.sol";

/// @title What a session's words mean, and what would become of an act, for whoever asks
/// @notice Pure: words come from `wordOf` of a registry, or from its events. Wallets need not know how
/// words are packed, and the policy of `intents.policy` is held against this one, case by case.
contract SessionLens {
    using CapWord for uint256;

    /// @param cap atoms, or units, in any `period` seconds; means nothing unless `isCapped`
    /// @param left the most that one charge may be now
    struct WordView {
        uint32 expiresAt;
        uint24 sessionEpoch;
        uint8 permissions;
        uint16 team;
        bool isCapped;
        uint256 cap;
        uint256 period;
        uint256 spent;
        uint256 left;
    }

    function read(uint256 word, uint256 time) external pure returns (WordView memory) {
        return WordView({
            expiresAt: word.expiresAtOf(),
            sessionEpoch: word.sessionEpochOf(),
            permissions: word.permissionsOf(),
            team: word.teamOf(),
            isCapped: word.isCapped(),
            cap: word.capOf(),
            period: word.periodOf(),
            spent: word.spentOf(time),
            left: word.leftOf(time)
        });
    }

    /// @notice Each act by the words of its place, and the words afterwards.
    function evaluate(SessionPolicy.Words[] memory words, SessionPolicy.Act[] memory acts)
        external
        pure
        returns (SessionPolicy.Verdict[] memory verdicts, SessionPolicy.Words[] memory)
    {
        verdicts = new SessionPolicy.Verdict[](acts.length);
        for (uint256 i = 0; i < acts.length; ++i) {
            verdicts[i] = SessionPolicy.evaluate(words[i], acts[i]);
        }
        return (verdicts, words);
    }

    /// @notice Each word with the cap that is set, or lifted where the period is zero.
    function capped(
        uint256[] memory words,
        uint256[] memory caps,
        uint256[] memory periods,
        uint256 time
    ) external pure returns (uint256[] memory) {
        for (uint256 i = 0; i < words.length; ++i) {
            words[i] = periods[i] == 0
                ? words[i].withoutCap()
                : words[i].withCap(caps[i], periods[i], time);
        }
        return words;
    }

    /// @notice A key's words, its cap's and its units', after each of these grants, one after the other.
    function granted(
        uint256 key,
        uint256 units,
        ISessionRegistry.SessionGrant[] calldata grants,
        uint256[] calldata times
    )
        external
        pure
        returns (uint256[] memory keys, uint256[] memory terms, uint256[] memory counts)
    {
        keys = new uint256[](grants.length);
        terms = new uint256[](grants.length);
        counts = new uint256[](grants.length);
        for (uint256 i = 0; i < grants.length; ++i) {
            (key, terms[i], units) = SessionPolicy.granted(key, units, grants[i], times[i]);
            (keys[i], counts[i]) = (key, units);
        }
    }
}
