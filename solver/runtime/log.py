"""Structured logs on standard error: one JSON object a line, or plain text in a terminal.

Secrets never come here by construction: plaintext keys live in `solver.vault` only, and
what the proxy logs has passed its scrubber.
"""

import logging
import sys
from typing import Final

import msgspec
import structlog


def configure_log(*, level: str = "info", plain: bool | None = None) -> None:
    """Set up structlog once per process. `plain` defaults to whether stderr is a terminal."""
    readable = sys.stderr.isatty() if plain is None else plain
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer()
        if readable
        else structlog.processors.JSONRenderer(serializer=_json)
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelNamesMapping()[level.upper()]
        ),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


def _json(line: object, **_: object) -> str:
    """A line as JSON. Every request has one, so this takes a tenth of what `json` takes."""
    return _ENCODER.encode(line).decode()


_ENCODER: Final = msgspec.json.Encoder(enc_hook=repr)
"""What JSON cannot say is told as Python would."""
