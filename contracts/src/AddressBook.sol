// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.37;

/// @title Addresses in the code of a contract
/// @notice A book is a contract whose code is one byte (STOP, so that nothing can be run) and 20 bytes
/// for each address. Anyone may deploy one. Reading its code costs about 30 gas an address, a tenth of
/// what an address costs in calldata. Nobody needs to trust a book: buyers sign addresses.
library AddressBook {
    uint256 private constant ADDRESS_SIZE = 20;

    /// @dev No code, or not of whole addresses.
    error AddressBookMalformed(address book);

    /// @notice Copies a book's addresses to memory from `start` on, beyond what is allocated.
    /// @return end where its last address ends
    function copy(address book, uint256 start) internal view returns (uint256 end) {
        uint256 size = book.code.length;
        require(size > 1 && (size - 1) % ADDRESS_SIZE == 0, AddressBookMalformed(book));
        // Memory-safe: the caller allocates what it had copied here before it allocates anything else.
        assembly ("memory-safe") {
            extcodecopy(book, start, 1, sub(size, 1))
            end := add(start, sub(size, 1))
        }
    }
}
