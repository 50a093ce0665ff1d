// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.37;

import {IERC1271} from "@openzeppelin/contracts/interfaces/IERC1271.sol";
import {PackedUserOperation} from "@openzeppelin/contracts/interfaces/IERC4337.sol";
import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {ISettlement} from "../src/ISettlement.sol";
import {SessionAccount} from "../src/SessionAccount.sol";

/// @title Contracts that do what a contract should not do

/// @dev Keeps 1 % of each transfer.
contract FeeToken is ERC20 {
    constructor() ERC20("Fee", "FEE") {
        _mint(msg.sender, 1_000_000);
    }

    function _update(address from, address to, uint256 value) internal override {
        uint256 fee = from == address(0) ? 0 : value / 100;
        super._update(from, to, value - fee);
        if (fee != 0) super._update(from, address(1), fee);
    }
}

/// @dev Does once what it was told to, in the middle of its next transfer.
contract HookedToken is ERC20 {
    address private _target;
    bytes private _attack;

    constructor() ERC20("Hooked", "HOOK") {
        _mint(msg.sender, 1_000_000);
    }

    function set(address target, bytes calldata attack) external {
        (_target, _attack) = (target, attack);
    }

    function _update(address from, address to, uint256 value) internal override {
        super._update(from, to, value);
        if (_attack.length == 0) return;
        bytes memory attack = _attack;
        delete _attack;
        (bool success, bytes memory result) = _target.call(attack);
        if (success) return;
        assembly {
            revert(add(result, 0x20), mload(result))
        }
    }
}

/// @dev An account that answers the settlement contract in any way it is told to.
contract HostileAccount {
    enum Mood {
        Accept,
        Refuse,
        Revert,
        Empty,
        Short,
        BurnGas,
        ReturnBomb,
        RevertBomb,
        Write,
        Reenter
    }

    Mood public mood;
    bytes4 private immutable _MAGIC;
    ISettlement private immutable _SETTLEMENT;
    uint256 public calls;
    bytes public attack;

    constructor(ISettlement settlement, bytes4 magic) {
        _SETTLEMENT = settlement;
        _MAGIC = magic;
    }

    function set(Mood mood_, bytes calldata attack_) external {
        mood = mood_;
        attack = attack_;
    }

    fallback() external {
        if (mood == Mood.Refuse) _answer(0, 32);
        if (mood == Mood.Revert) revert("no");
        if (mood == Mood.Empty) _answer(_MAGIC, 0);
        if (mood == Mood.Short) _answer(_MAGIC, 31);
        if (mood == Mood.BurnGas) {
            while (true) calls += 0;
        }
        if (mood == Mood.ReturnBomb) _answer(_MAGIC, 100_000);
        if (mood == Mood.RevertBomb) {
            assembly {
                revert(0, 100000)
            }
        }
        if (mood == Mood.Write) calls += 1;
        if (mood == Mood.Reenter) {
            (bool success, bytes memory result) = address(_SETTLEMENT).call(attack);
            // The whole answer is refused unless the attack went through.
            if (!success) {
                assembly {
                    revert(add(result, 0x20), mload(result))
                }
            }
        }
        _answer(_MAGIC, 32);
    }

    function _answer(bytes4 word, uint256 size) private pure {
        bytes32 padded = word;
        assembly {
            mstore(0, padded)
            return(0, size)
        }
    }
}

/// @dev An account that accepts everything, and needs nearly all the gas that it is promised.
contract NeedyAccount is IERC1271 {
    uint256 private constant NEEDED = 195_000;

    function isValidSignature(bytes32, bytes calldata) external view returns (bytes4) {
        return gasleft() < NEEDED ? bytes4(0) : IERC1271.isValidSignature.selector;
    }
}

/// @dev An operator that gives exactly so much gas.
contract Thrift {
    function call(address target, uint256 gasLimit, bytes calldata data)
        external
        returns (bool success)
    {
        (success,) = target.call{gas: gasLimit}(data);
    }
}

/// @dev A contract that owns a session account and accepts one digest.
contract ContractOwner {
    bytes32 public accepted;

    function accept(bytes32 digest) external {
        accepted = digest;
    }

    function isValidSignature(bytes32 digest, bytes calldata) external view returns (bytes4) {
        return digest == accepted ? this.isValidSignature.selector : bytes4(0xffffffff);
    }
}

/// @dev A session key that is a contract and calls back while it settles.
contract ContractKey {
    function call(SessionAccount account, bytes calldata data) external returns (bytes memory) {
        return account.callSettlement(data);
    }
}

/// @dev A token that does not always do what it is asked.
contract OddToken {
    enum Mood {
        Honest,
        TakesMore,
        MovesLess,
        MovesNothing,
        SaysNo
    }

    Mood public mood;
    mapping(address => uint256) public balanceOf;

    function set(Mood mood_) external {
        mood = mood_;
    }

    function mint(address to, uint256 amount) external {
        balanceOf[to] += amount;
    }

    function transfer(address to, uint256 amount) external returns (bool) {
        if (mood == Mood.SaysNo) return false;
        if (mood == Mood.MovesNothing) amount = 0;
        if (mood == Mood.MovesLess) amount -= 1;
        balanceOf[msg.sender] -= mood == Mood.TakesMore ? 2 * amount : amount;
        balanceOf[to] += amount;
        return true;
    }
}

/// @dev A paymaster that pays for everybody.
contract PayingForAll {
    function validatePaymasterUserOp(PackedUserOperation calldata, bytes32, uint256)
        external
        pure
        returns (bytes memory, uint256)
    {
        return ("", 0);
    }
}
