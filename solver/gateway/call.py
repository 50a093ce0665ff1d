"""A call described in JSON: what describes it is read strictly, what it sends on is not read.

A body of a megabyte can be a quarter of a million numbers, and to make each of them a value of
Python's would hold everyone up for a third of a second. It is checked to be JSON, and goes on
as it came.
"""

import re
from typing import Any, Final

import msgspec

from intents.reject import Reject, RejectCode, reject
from solver.gateway.body import CONTAINERS_MAX
from solver.gateway.wire import CallBody
from solver.verifier.decode import decode_json, malformed

DESCRIPTION_BYTES_MAX: Final = 32 * 1024
"""All but the body."""
_decode_members: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_text: Final = msgspec.json.Decoder(str).decode
_NAME: Final = re.compile(rb'[ \t\r\n]*[{,][ \t\r\n]*"([a-z]+)"[ \t\r\n]*:[ \t\r\n]*')


def read_call(raw: bytes) -> CallBody | Reject:
    """The call; its `body` is text, None, or a `msgspec.Raw`. Rejects: malformed, too_large."""
    try:
        raw.decode()
        members = {name: bytes(value) for name, value in _decode_members(raw).items()}
        body = _body_of(members.get("body", b"null"))
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        return malformed(f"not a call in JSON: {error}")
    if not _is_all(raw, members):
        return reject(RejectCode.MALFORMED, "a name is unknown, or came twice")
    members.pop("body", None)
    described = _describe(members)
    if isinstance(described, Reject):
        return described
    return msgspec.structs.replace(described, body=body)


def _body_of(value: bytes) -> Any:  # noqa: ANN401  what CallBody holds
    if value.startswith(b'"'):
        return _decode_text(value)
    return None if value == b"null" else msgspec.Raw(value)


def _is_all(raw: bytes, members: dict[str, bytes]) -> bool:
    """Whether an object has these members in this order, and no other: none came twice."""
    place = 0
    for name, value in members.items():
        found = _NAME.match(raw, place)
        if found is None or found[1] != name.encode() or not raw.startswith(value, found.end()):
            return False
        place = found.end() + len(value)
    return raw[place:].strip(b" \t\r\n") == b"}"


def _describe(members: dict[str, bytes]) -> CallBody | Reject:
    """The call but for its body."""
    inner = b",".join(b'"%b":%b' % (name.encode(), value) for name, value in members.items())
    if len(inner) > DESCRIPTION_BYTES_MAX:
        return reject(
            RejectCode.TOO_LARGE,
            f"all but the body of a call has at most {DESCRIPTION_BYTES_MAX} bytes",
            hint="Send it in the body.",
        )
    return decode_json(b"{%b}" % inner, CallBody, containers_max=CONTAINERS_MAX)
