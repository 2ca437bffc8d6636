"""Logs as lines of JSON, without anything that a request holds."""

import datetime
import json
import logging
import traceback
from typing import Any

LOGGER = "keras_espmedsam.serve"
"""The logger of a server."""


class JsonFormatter(logging.Formatter):
    """Formats a record as one line of JSON.

    Of an exception only its type and the places in the code are written: its text may quote a
    file's header.

    Example:
        >>> record = logging.makeLogRecord({"msg": "request", "fields": {"status": 200}})
        >>> json.loads(JsonFormatter().format(record))["status"]
        200
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        time = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
        content: dict[str, Any] = {
            "time": time.isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info and record.exc_info[1] is not None:
            content |= described(record.exc_info[1])
        return json.dumps(content)


def described(error: BaseException) -> dict[str, Any]:
    """Return the type of an exception and where it was raised, without its text.

    Args:
        error: the exception.

    Example:
        >>> described(ValueError("a name from a header"))
        {'error': 'ValueError', 'at': []}
    """
    places = [
        f"{frame.f_globals.get('__name__', '?')}:{line}"
        for frame, line in traceback.walk_tb(error.__traceback__)
    ]
    return {"error": type(error).__name__, "at": places[-5:]}


def log_config() -> dict[str, Any]:
    """Return a configuration for `logging.config.dictConfig`, also of uvicorn's own messages."""
    to_stderr = {"handlers": ["stderr"], "level": "INFO", "propagate": False}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": {"()": JsonFormatter}},
        "handlers": {
            "stderr": {
                "class": "logging.StreamHandler",
                "formatter": "json",
                "stream": "ext://sys.stderr",
            }
        },
        "loggers": {
            LOGGER: to_stderr,
            # What it tells at the level INFO, the server tells itself.
            "uvicorn.error": {**to_stderr, "level": "WARNING"},
        },
    }
