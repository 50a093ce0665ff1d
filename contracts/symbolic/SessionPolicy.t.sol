// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.37;

import {CapWord} from "../src/CapWord.sol";
import {SessionPolicy} from "../src/SessionPolicy.sol";

/// @title Every key and every act: who may not is told so, and nobody's line is another's
contract SessionPolicyProof {
    using CapWord for uint256;

    function check_session_ofAnotherEpochIsDead(
        uint256 key,
        uint8 permission,
        uint24 epoch,
        uint40 time,
        uint40 graceS
    ) external pure {
        require(key.sessionEpochOf() != epoch || key.permissionsOf() == 0);
        SessionPolicy.Verdict verdict =
            SessionPolicy.sessionVerdict(key, permission, epoch, time, graceS);
        assert(verdict == SessionPolicy.Verdict.NotLive);
    }

    function check_session_allowedIsLiveInTimeAndPermitted(
        uint256 key,
        uint8 permission,
        uint24 epoch,
        uint40 time,
        uint40 graceS
    ) external pure {
        SessionPolicy.Verdict verdict =
            SessionPolicy.sessionVerdict(key, permission, epoch, time, graceS);
        if (verdict != SessionPolicy.Verdict.Allowed) return;
        assert(key.sessionEpochOf() == epoch && key.permissionsOf() != 0);
        assert(time <= uint256(key.expiresAtOf()) + graceS);
        assert(key.permissionsOf() & permission == permission);
    }

    function check_session_liveIsWhatItsVerdictAllows(
        uint256 key,
        uint8 permission,
        uint24 epoch,
        uint40 time,
        uint40 graceS
    ) external pure {
        SessionPolicy.Verdict verdict =
            SessionPolicy.sessionVerdict(key, permission, epoch, time, graceS);
        bool isAllowed = permission != 0 && verdict == SessionPolicy.Verdict.Allowed;
        assert(key.isLive(permission, epoch, time, graceS) == isAllowed);
    }

    function check_lines_areOfOneCounterparty(
        address one,
        uint96 amount,
        address other,
        uint96 otherAmount
    ) external pure {
        uint256 line = SessionPolicy.lineOf(one, amount);
        assert(SessionPolicy.counterpartyOf(line) == uint160(one));
        assert(SessionPolicy.amountOf(line) == amount);
        bool isSame = line == SessionPolicy.lineOf(other, otherAmount);
        assert(isSame == (one == other && amount == otherAmount));
    }

    function check_lines_validAddUpAndAscend(uint256 first, uint256 second, uint256 amount)
        external
        pure
    {
        uint256[] memory lines = new uint256[](2);
        (lines[0], lines[1]) = (first, second);
        if (!SessionPolicy.areLinesValid(lines, amount)) return;
        assert(SessionPolicy.counterpartyOf(first) < SessionPolicy.counterpartyOf(second));
        assert(SessionPolicy.amountOf(first) + SessionPolicy.amountOf(second) == amount);
    }

    function check_terms_keepPriceAndResource(bytes32 resource, uint64 tickMax) external pure {
        uint256 terms = SessionPolicy.termsOf(resource, tickMax);
        assert(uint64(terms) == tickMax);
        assert(terms >> 64 == 0 || terms >> 64 == uint256(resource) >> 64);
    }

    function check_terms_refuseAnyOtherResource(
        uint256 terms,
        uint256 units,
        bytes32 resource,
        uint64 delivered,
        uint96 amount,
        uint40 time
    ) external pure {
        require(terms >> 64 != 0 && terms >> 64 != uint256(resource) >> 64);
        (SessionPolicy.Verdict verdict, uint256 next) =
            SessionPolicy.termsVerdict(terms, units, resource, delivered, amount, time);
        assert(verdict == SessionPolicy.Verdict.ResourceForbidden && next == units);
    }

    function check_counterparty_unlistedGetsNothing(uint256 word, uint96 amount, uint40 time)
        external
        pure
    {
        require(!word.isCapped());
        (SessionPolicy.Verdict verdict, uint256 next) = SessionPolicy.counterpartyVerdict(
            SessionPolicy.CounterpartyRule.Listed, word, amount, time
        );
        assert(verdict == SessionPolicy.Verdict.CounterpartyUnlisted && next == word);
    }
}
