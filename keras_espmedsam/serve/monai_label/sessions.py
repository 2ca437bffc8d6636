"""Images that clients leave for an hour, to segment them without adding them to the studies."""

import secrets
import shutil
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from keras_espmedsam._shown import shown_value
from keras_espmedsam.serve.problems import Problem

_MOST = 32
_LONGEST = 3600


class Sessions:
    """Keeps images in a temporary folder; each goes when its time is up, all when it is closed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._folder: Path | None = None
        # By id: the file, its times, and what removes it.
        self._kept: dict[str, tuple[Path, dict[str, int], threading.Timer]] = {}

    def add(self, source: Path, suffix: str, seconds: int = 0) -> str:
        """Keep an image; the oldest one goes if there are too many.

        Args:
            source: the file, which is moved.
            suffix: the suffix of its new name.
            seconds: how long; 0, and more than an hour, is an hour.

        Returns:
            The session's id.
        """
        seconds = seconds if 0 < seconds < _LONGEST else _LONGEST
        id = secrets.token_hex(16)
        with self._lock:
            if self._folder is None:
                self._folder = Path(tempfile.mkdtemp(prefix="espmedsam-sessions-"))
            path = self._folder / f"{id}{suffix}"
            shutil.move(source, path)
            timer = threading.Timer(seconds, self.remove, [id])
            timer.daemon = True
            timer.start()
            now = int(time.time())
            times = {"creation_ts": now, "last_access_ts": now, "expiry": seconds}
            self._kept[id] = (path, times, timer)
            oldest = next(iter(self._kept)) if len(self._kept) > _MOST else None
        if oldest is not None:
            self.remove(oldest)
        return id

    def path(self, id: str) -> Path:
        """Return the image of a session.

        Raises:
            Problem: with status 404, when there is none, or its time is up.
        """
        return self._found(id)[0]

    def info(self, id: str) -> dict[str, Any]:
        """Return the times of a session.

        Raises:
            Problem: with status 404, when there is none, or its time is up.
        """
        return dict(self._found(id)[1])

    def remove(self, id: str) -> None:
        """Remove a session and its image, if it is there."""
        with self._lock:
            kept = self._kept.pop(id, None)
        if kept is not None:
            kept[2].cancel()
            kept[0].unlink(missing_ok=True)

    def close(self) -> None:
        """Remove all sessions."""
        for id in list(self._kept):
            self.remove(id)
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def _found(self, id):
        with self._lock:
            found = self._kept.get(id)
        if found is None:
            raise Problem(
                404,
                f"There is no session {shown_value(id)}, or its time is up; send the image again.",
            )
        return found
