"""Read thousands of damaged files, and count what comes of them.

    python benchmarks/hostile_files.py --files 10000 --output docs/reports

Each file is one of the sound ones of `hostile_seeds.py`, damaged by its number, so that it can be
made again: `--only TIFF --keep FOLDER` leaves those that went wrong in a folder. It is read by a
worker, which is ended when it has computed for longer than `--seconds` at a file, and cannot take
more memory than `--memory`. What may come of a file:

- right: it is read, as finite numbers of the size that it says;
- sentence: an `InputError` of one line without control characters;
- other: any other exception, a message of several lines, numbers that are none, or a worker that
  ended;
- slow, memory: over the limits;
- noisy: something was printed or warned, whatever came of it besides.
"""

import argparse
import datetime
import json
import os
import pathlib
import platform
import re
import selectors
import subprocess
import sys
import tempfile
import time
import warnings

from hostile_readers import READERS
from hostile_seeds import DAMAGE, damaged, sound_files

OUTCOMES = ("right", "sentence", "other", "slow", "memory", "noisy")
# How many of a hundred files are of a kind; models are built for some of the last ones.
SHARES = {
    "PNG": 7,
    "JPEG": 7,
    "BMP, GIF, PPM, WebP": 7,
    "TIFF": 18,
    "DICOM": 12,
    "NIfTI": 10,
    "index": 5,
    "configuration of training": 4,
    "configuration of distillation": 4,
    "checkpoint": 9,
    "adapters": 1,
    "state of a run": 2,
    "weights of a run": 1,
    "preset: config.json": 1,
    "preset: task.json": 1,
    "preset: preprocessor.json": 0.5,
    "preset: image_converter.json": 0.5,
    "preset: SHA256SUMS": 0.5,
    "preset: model.weights.h5": 0.5,
    "artefact: description": 5,
    "artefact: ONNX": 2,
}


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--start", type=int, default=0, help="number of the first file of a kind")
    parser.add_argument("--seconds", type=float, default=10, help="of computing, for one file")
    parser.add_argument("--memory", type=int, default=1024, help="MiB for one file")
    parser.add_argument("--only", action="append", help="a kind; several times for several")
    parser.add_argument("--keep", type=pathlib.Path, help="folder for the files that went wrong")
    parser.add_argument("--output", type=pathlib.Path, help="folder for hostile_files.md and .json")
    parser.add_argument("--strict", action="store_true", help="exit code 1 if any went wrong")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.worker:
        work(options.worker, options.memory)
        return
    kinds = options.only or list(SHARES)
    rows, wrong = {}, []
    for kind in kinds:
        share = SHARES[kind] / sum(SHARES[one] for one in kinds)
        count = max(1, int(options.files * share))
        rows[kind] = run(kind, count, options, wrong)
        print(kind, rows[kind], flush=True)
    for one in wrong:
        print(f"{one['kind']} {one['number']}: {one['outcome']}: {one['detail']}"[:300])
    if options.output:
        write(rows, wrong, options)
    if wrong and options.strict:
        sys.exit(1)


def run(kind, count, options, wrong):
    """Read the files of a kind; returns a dict of each outcome to their number, and the times."""
    seeds = sound_files(kind)
    if seeds is None:
        print(f"{kind}: left out; what reads it is not installed")
        return {**dict.fromkeys(OUTCOMES, 0), "longest": 0.0, "mebibytes": 0, "seconds": 0.0}
    damage = DAMAGE.get(kind, kind)
    found = dict.fromkeys(OUTCOMES, 0)
    longest, largest, start = 0.0, 0, time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, Workers(kind, options) as workers:
        for number in range(options.start, options.start + count):
            content = damaged(damage, seeds, number, options.seed)
            path = pathlib.Path(folder) / f"{number}.bin"
            path.write_bytes(content)
            said = workers.read(path)
            found[said["outcome"]] += 1
            found["noisy"] += bool(said["noise"])
            longest, largest = max(longest, said["seconds"]), max(largest, said["mebibytes"])
            if said["outcome"] not in ("right", "sentence") or said["noise"]:
                detail = said["detail"] + (f" [printed: {said['noise']}]" if said["noise"] else "")
                wrong.append({"kind": kind, "number": number, **said, "detail": detail})
                if options.keep:
                    options.keep.mkdir(parents=True, exist_ok=True)
                    name = re.sub(r"\W+", "_", kind) + f"_{number}.bin"
                    (options.keep / name).write_bytes(content)
            path.unlink()
    seconds = time.perf_counter() - start
    return {**found, "longest": longest, "mebibytes": largest, "seconds": round(seconds, 1)}


class Workers:
    """One worker at a time: a new one after each that had to be ended."""

    def __init__(self, kind, options):
        self.command = [sys.executable, __file__, "--worker", kind, "--memory", options.memory]
        self.seconds = options.seconds
        self.process = None

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._end()

    def _end(self):
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process.stdin.close()
            self.process.stdout.close()
            self.process = None

    def _start(self):
        self.process = subprocess.Popen(
            [str(part) for part in self.command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
            env={"KERAS_BACKEND": "torch", **os.environ, "OMP_NUM_THREADS": "1"},
        )
        self.process.stdout.readline()  # it has imported what it needs

    def _waited(self):
        """Whether the worker answers in time: in seconds of computing, or ten times as many."""
        before, start = _computed(self.process.pid), time.perf_counter()
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            while not selector.select(0.5):
                waited = time.perf_counter() - start
                now = _computed(self.process.pid)
                used = waited if None in (before, now) else max(now - before, waited / 10)
                if used > self.seconds:
                    return False
        return True

    def read(self, path):
        """What the worker says of a file."""
        if self.process is None:
            self._start()
        start = time.perf_counter()
        self.process.stdin.write(f"{path}\n")
        self.process.stdin.flush()
        answered = self._waited()
        line = self.process.stdout.readline() if answered else ""
        if line:
            return json.loads(line)
        outcome, detail = "slow", f"more than {self.seconds:g} s"
        if answered:
            outcome, detail = "other", f"the worker ended with {self.process.wait()}"
        self._end()
        seconds = round(time.perf_counter() - start, 2)
        return _said(outcome, detail, seconds=seconds)


def _computed(process):
    """Seconds that a process has computed; `None` where Linux does not tell."""
    try:
        said = pathlib.Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return None
    user, system = said.rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def _said(outcome, detail="", noise="", seconds=0.0, mebibytes=0):
    return {
        "outcome": outcome,
        "detail": detail,
        "noise": noise,
        "seconds": seconds,
        "mebibytes": mebibytes,
    }


# === The worker ===


def work(kind, memory):
    """Read the files whose paths come on stdin, and answer each on stdout."""
    from keras_espmedsam.errors import InputWarning

    answers = os.fdopen(os.dup(1), "w", buffering=1)
    with tempfile.TemporaryFile() as printed, tempfile.TemporaryDirectory() as folder:
        os.dup2(printed.fileno(), 1)
        os.dup2(printed.fileno(), 2)
        # Warnings of this package are meant for the user; any other counts as noise.
        warnings.simplefilter("ignore", InputWarning)
        reader = READERS[kind](pathlib.Path(folder))
        _limit_memory(4 * memory)
        printed.seek(0)
        printed.truncate(0)
        answers.write("ready\n")
        for line in sys.stdin:
            path = pathlib.Path(line.rstrip("\n"))
            before, start = _resident(reset=True), time.perf_counter()
            outcome, detail = _outcome(reader, path)
            seconds = round(time.perf_counter() - start, 2)
            mebibytes = max(0, _resident() - before)
            if mebibytes > memory:
                outcome, detail = "memory", f"{mebibytes} MiB; {detail}"
            sys.stdout.flush()
            sys.stderr.flush()
            printed.seek(0)
            noise = printed.read(300).decode(errors="backslashreplace")
            printed.seek(0)
            printed.truncate(0)
            said = _said(outcome, detail, noise, seconds, mebibytes)
            answers.write(json.dumps(said) + "\n")


def _outcome(reader, path):
    from keras_espmedsam.errors import InputError

    try:
        wrong = reader(path)
    except InputError as error:
        message = str(error)
        if len(message) > 2010 or not message.isprintable():
            return "other", f"a message of {len(message)} letters: {message[:200]!r}"
        return "sentence", message
    except MemoryError:
        return "memory", "MemoryError"
    except Exception as error:
        return "other", f"{type(error).__name__}: {error}"[:300]
    return ("other", wrong) if wrong else ("right", "")


def _limit_memory(mebibytes):
    try:
        import resource
    except ImportError:  # Windows
        return
    now = _pages_of_this_process() or 0
    resource.setrlimit(resource.RLIMIT_AS, (now + mebibytes * 2**20,) * 2)


def _pages_of_this_process():
    try:
        pages = int(pathlib.Path("/proc/self/statm").read_text().split()[0])
    except OSError:
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")


def _resident(reset=False):
    """The most memory that was held since the last reset, in MiB; 0 where Linux does not tell."""
    try:
        if reset:
            pathlib.Path("/proc/self/clear_refs").write_text("5")
        status = pathlib.Path("/proc/self/status").read_text()
    except OSError:
        return 0
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) // 1024


# === The table ===


def _machine():
    try:
        said = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.partition(":")[2].strip() for line in said if "model name" in line)
    except (OSError, StopIteration):
        name = platform.processor() or platform.machine()
    return f"{os.cpu_count()} cores ({name}), Python {platform.python_version()}"


def write(rows, wrong, options):
    """Write the table for people and for programs."""
    columns = (*OUTCOMES, "longest", "mebibytes", "seconds")
    heads = (*OUTCOMES, "longest (s)", "largest (MiB)", "all (s)")
    count = sum(row[outcome] for row in rows.values() for outcome in OUTCOMES[:5])
    lines = [
        "# Files made by strangers",
        "",
        f"What comes of {count:,} damaged files of every kind, made and counted by",
        "[`benchmarks/hostile_files.py`](../../benchmarks/hostile_files.py), which says what words",
        f"mean. A file counts as slow after {options.seconds:g} s of computing, and as taking too",
        f"much memory beyond {options.memory:,} MiB. Made on {datetime.date.today()}, on",
        f"{_machine()}; times are of a machine with other work to do.",
        "",
        f"    python benchmarks/hostile_files.py --files {options.files} --seed {options.seed}",
        "",
        "| kind | " + " | ".join(heads) + " |",
        "|---" * (1 + len(heads)) + "|",
    ]
    lines += [
        f"| {kind} | " + " | ".join(f"{row[column]:,}" for column in columns) + " |"
        for kind, row in rows.items()
    ]
    if wrong:
        lines += ["", "## What went wrong", ""]
        lines += [
            f"- {one['kind']} {one['number']}: {one['outcome']}: `{one['detail'][:160]!r}`"
            for one in wrong[:50]
        ]
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "hostile_files.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    about = {"files": options.files, "seed": options.seed, "date": str(datetime.date.today())}
    content = json.dumps({**about, "machine": _machine(), "rows": rows}, indent=1)
    (options.output / "hostile_files.json").write_text(content + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
