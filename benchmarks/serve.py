"""Measure `espmedsam serve`: throughput, latency, memory, overload and stopping.

    KERAS_BACKEND=tensorflow python benchmarks/serve.py --output serve.json

The server is a process of its own on loopback, its clients are threads of this one, each with a
connection that is kept; on a machine with few cores they take a part of them. Before it, the bare
model segments the same image in batches, for the ratio. `--model` is any preset or exported model.
"""

import argparse
import concurrent.futures
import contextlib
import http.client
import io
import json
import os
import pathlib
import platform
import queue
import re
import signal
import statistics
import subprocess
import sys
import time

BARE = """
import io, json, sys, time
import numpy as np
from PIL import Image
from keras_espmedsam.inference.load_models import load_segmenter
model, modality, size, count, path = sys.argv[1:]
segmenter, size, count = load_segmenter(model), int(size), int(count)
image = np.asarray(Image.open(path))
segmenter.segment([image] * size, modality, batch_size=size)
began = time.perf_counter()
for _ in range(max(1, count // size)):
    segmenter.segment([image] * size, modality, batch_size=size)
print(json.dumps(max(1, count // size) * size / (time.perf_counter() - began)))
"""


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="espmedsam_nano_256")
    parser.add_argument("--modality", default="fundus")
    parser.add_argument("--image", type=pathlib.Path, help="default: a made one of 512 x 512")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--requests", type=int, default=200, help="for each number of clients")
    parser.add_argument("--many", type=int, default=10_000, help="requests for the memory")
    parser.add_argument("--output", type=pathlib.Path, help="JSON file")
    options = parser.parse_args(argv)
    path = options.image or pathlib.Path("serve_image.png")
    if options.image is None:
        path.write_bytes(made_image())
    body = path.read_bytes()
    report = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "backend": os.environ.get("KERAS_BACKEND", "default"),
        "model": options.model,
        "bytes": len(body),
    }
    arguments = [options.model, options.modality, "8", str(options.requests), str(path)]
    report["bare_images_per_second"] = float(
        subprocess.run(
            [sys.executable, "-c", BARE, *arguments], check=True, capture_output=True, text=True
        ).stdout
    )
    target = f"/segment?modality={options.modality}"
    command = [sys.executable, "-m", "keras_espmedsam.cli.main", "serve", f"it={options.model}"]
    with server([*command, "--port", "0"]) as running:
        report["load"] = [
            load(running.port, target, body, clients, options.requests)
            for clients in options.clients
        ]
        for row in report["load"]:
            row["of_bare"] = row["per_second"] / report["bare_images_per_second"]
            print(row, flush=True)
        report["memory"] = memory(running, target, body, options.many)
        print(report["memory"], flush=True)
    with server([*command, "--port", "0", "--queue", "4"]) as running:
        report["overload"] = overload(running.port, target, body, 32)
        print(report["overload"], flush=True)
        report["stop"] = stop(running, target, body, 4)
        print(report["stop"], flush=True)
    if options.output:
        options.output.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return report


def made_image():
    """A grey disc on uneven ground, as PNG."""
    import numpy as np
    from PIL import Image

    rows, columns = np.mgrid[:512, :512]
    disc = ((rows - 256) ** 2 + (columns - 256) ** 2 < 120**2) * 90
    noise = np.random.default_rng(0).integers(0, 60, (512, 512, 3))
    stream = io.BytesIO()
    Image.fromarray((noise + disc[..., None]).astype("uint8")).save(stream, "PNG")
    return stream.getvalue()


@contextlib.contextmanager
def server(command):
    """Start a server that prints where it listens, and wait until it is ready.

    Yields:
        `subprocess.Popen` with its `port`.
    """
    started = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        for line in started.stderr:
            if found := re.match(r"Listening on http://127\.0\.0\.1:(\d+)", line):
                break
        else:
            raise RuntimeError(f"the server ended with exit code {started.wait()}")
        started.port = int(found[1])
        # Its log goes nowhere; a full pipe would stop it.
        waste = concurrent.futures.ThreadPoolExecutor(1)
        waste.submit(lambda: [None for _ in started.stderr])
        while request(started.port, "GET", "/health")[0] != 200:
            time.sleep(0.1)
        yield started
    finally:
        started.kill()
        started.wait()


def request(port, method, target, body=None):
    """Send a request on a connection of its own, and return status and headers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    try:
        return send(connection, method, target, body)
    finally:
        connection.close()


def send(connection, method, target, body):
    connection.request(method, target, body)
    answer = connection.getresponse()
    answer.read()
    return answer.status, answer.headers


def load(port, target, body, clients, requests):
    """Send requests from several clients, and return throughput and latency."""
    waiting = queue.SimpleQueue()
    for _ in range(requests):
        waiting.put(None)

    def client():
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
        found = []
        with contextlib.suppress(queue.Empty):
            while True:
                waiting.get_nowait()
                began = time.perf_counter()
                status, _ = send(connection, "POST", target, body)
                found.append((time.perf_counter() - began, status))
        connection.close()
        return found

    began = time.perf_counter()
    with concurrent.futures.ThreadPoolExecutor(clients) as pool:
        found = [
            one for each in [pool.submit(client) for _ in range(clients)] for one in each.result()
        ]
    seconds = time.perf_counter() - began
    times = sorted(one for one, _ in found)
    cuts = statistics.quantiles(times, n=100, method="inclusive") if len(times) > 1 else times * 99
    return {
        "clients": clients,
        "requests": len(found),
        "failed": sum(status != 200 for _, status in found),
        "per_second": len(found) / seconds,
        **{f"p{share}_seconds": cuts[share - 1] for share in (50, 95, 99)},
    }


def memory(running, target, body, requests):
    """Send many requests, and return the memory of the server after each tenth of them, in MiB."""
    resident = [resident_mib(running.pid)]
    failed = 0
    for _ in range(10):
        failed += load(running.port, target, body, 8, requests // 10)["failed"]
        resident.append(resident_mib(running.pid))
    return {"requests": requests // 10 * 10, "failed": failed, "resident_mib": resident}


def resident_mib(pid):
    """Resident memory of a process in MiB; None where the system does not tell."""
    path = pathlib.Path(f"/proc/{pid}/statm")
    if not path.exists():
        return None
    return int(path.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def overload(port, target, body, clients):
    """Send more requests at a time than are accepted, and one afterwards."""
    with concurrent.futures.ThreadPoolExecutor(clients) as pool:
        answers = list(pool.map(lambda _: request(port, "POST", target, body), range(clients)))
    statuses = [status for status, _ in answers]
    told = [headers["Retry-After"] for status, headers in answers if status == 429]
    return {
        "clients": clients,
        "answered": statuses.count(200),
        "told_to_come_again": statuses.count(429),
        "without_retry_after": told.count(None),
        "afterwards": request(port, "POST", target, body)[0],
    }


def stop(running, target, body, clients):
    """Send SIGTERM while requests are worked on, and count those that were answered.

    One that came too late to be accepted finds no server.
    """

    def answered(_):
        try:
            return request(running.port, "POST", target, body)[0] == 200
        except (OSError, http.client.HTTPException):
            return False

    with concurrent.futures.ThreadPoolExecutor(clients) as pool:
        answers = [pool.submit(answered, number) for number in range(clients)]
        while accepted(running.port) < clients and not any(one.done() for one in answers):
            pass
        count = int(accepted(running.port))
        running.send_signal(signal.SIGTERM)
        done = sum(one.result() for one in answers)
    running.wait(120)
    return {"accepted": count, "answered": done, "exit_code": running.returncode}


def accepted(port):
    """How many requests the server works on."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    return float(re.search(r"^espmedsam_accepted_requests (\S+)$", text, re.MULTILINE)[1])


if __name__ == "__main__":
    main()
