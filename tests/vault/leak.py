"""An oracle for leaks that shares no code with the scrubber."""

import base64
import json
from collections.abc import Callable
from urllib.parse import quote

Encoder = Callable[[bytes], bytes]


def _percent(key: bytes) -> bytes:
    return "".join(f"%{byte:02X}" for byte in key).encode()


def _unicode(key: bytes) -> bytes:
    return "".join(f"\\u{byte:04x}" for byte in key).encode()


def _mixed(key: bytes) -> bytes:
    # A backslash on its own would start an escape: it always needs one.
    return b"".join(
        bytes([byte]) if at % 2 and byte != ord("\\") else f"\\u{byte:04x}".encode()
        for at, byte in enumerate(key)
    )


ENCODERS: dict[str, Encoder] = {
    "raw": bytes,
    "reversed": lambda key: key[::-1],
    "hex": lambda key: key.hex().encode(),
    "HEX": lambda key: key.hex().upper().encode(),
    "base64": base64.b64encode,
    "base64 shifted by 1": lambda key: base64.b64encode(b"x" + key + b"yz"),
    "base64 shifted by 2": lambda key: base64.b64encode(b"xx" + key + b"y"),
    "base64url": base64.urlsafe_b64encode,
    "base64url shifted by 1": lambda key: base64.urlsafe_b64encode(b"?" + key),
    "base64url shifted by 2": lambda key: base64.urlsafe_b64encode(b"??" + key),
    "basic auth": lambda key: b"Basic " + base64.b64encode(b"user:" + key),
    "url-encoded": lambda key: quote(key, safe="").encode(),
    "url-encoded lower": lambda key: (
        quote(key, safe="").lower().encode() if key.islower() else _percent(key).lower()
    ),
    "percent everywhere": _percent,
    "json": lambda key: json.dumps({"key": key.decode()}).encode(),
    "json with escaped slash": lambda key: json.dumps(key.decode()).replace("/", "\\/").encode(),
    "json unicode": _unicode,
    "html decimal": lambda key: "".join(f"&#{byte};" for byte in key).encode(),
    "html hex": lambda key: "".join(f"&#x{byte:x};" for byte in key).encode(),
    "every other byte escaped": _mixed,
    "reversed hex": lambda key: key[::-1].hex().encode(),
}


def leaks(output: bytes, key: bytes) -> list[str]:
    """The encodings in which all of `key` is in `output`, and any 16 bytes of it."""
    found = [name for name, encode in ENCODERS.items() if encode(key) in output]
    found += [name for name, core in _cores(key) if core in output]
    found += ["fragment" for at in range(len(key) - 15) if key[at : at + 16] in output]
    return sorted(set(found))


def _cores(key: bytes) -> list[tuple[str, bytes]]:
    """What base64 keeps of a key at each alignment, found by comparing two surroundings."""
    cores = []
    for shift in range(3):
        one = base64.b64encode(b"\x00" * shift + key + b"\x00" * 3)
        two = base64.b64encode(b"\xff" * shift + key + b"\xff" * 3)
        same = [a == b for a, b in zip(one, two, strict=True)]
        start = same.index(True, 1 if shift else 0)
        end = start
        while end < len(same) and same[end]:
            end += 1
        cores += [(f"base64 at {shift}", one[start:end])]
    return cores
