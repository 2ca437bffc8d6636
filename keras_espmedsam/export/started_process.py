"""The process that writes an artefact for another process, and ends when that one does.

Nothing here imports Keras at the top: that takes seconds, in which the end of the first process
would go unnoticed.
"""

import json
import os
import shutil
import sys
import threading
import time
from pathlib import Path


def main():
    """Run the job in the file given as the program's argument, while stdin stays open."""
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    threading.Thread(target=_end_with_the_first, args=(job["remove"],), daemon=True).start()
    from keras_espmedsam.export.other_process import do

    do(job)


def _end_with_the_first(folders):
    """Exit when the process that started this one ends, since nobody needs the result then."""
    # Read the file descriptor: Python's own stream is locked, and flushed when a process ends.
    while os.read(0, 1):
        pass
    # The killed process could not remove them, and this one may still be writing there.
    for _ in range(20):
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)
        if not any(os.path.lexists(folder) for folder in folders):
            break
        time.sleep(0.05)
    os._exit(1)
