"""Running blocks of the shell, in which some commands are done within this process.

bash runs each block, so that quotes, patterns, pipes, variables and loops are what they are. The
commands of `run`'s table are not the installed ones: a small program in their place hands the
arguments to this process, which calls a function, and prints what that gives.

A line that ends in `# exit code 1` has to end with that code, every other one with 0.
"""

import json
import os
import re
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

_SHIM = f"""#!{sys.executable} -IS
import json, os, socket, sys
call = {{"command": os.path.basename(sys.argv[0]), "arguments": sys.argv[1:]}}
call.update(folder=os.getcwd(), environment=dict(os.environ))
with socket.socket(socket.AF_UNIX) as server:
    server.connect(os.path.join(os.path.dirname(sys.argv[0]), "socket"))
    server.sendall(json.dumps(call).encode())
    server.shutdown(socket.SHUT_WR)
    reply = b"".join(iter(lambda: server.recv(65536), b""))
code, out, err = json.loads(reply)
sys.stderr.write(err)
sys.stderr.flush()
try:
    sys.stdout.write(out)
    sys.stdout.flush()
except BrokenPipeError:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
sys.exit(code)
"""


def run(text, commands):
    """Run a block in the working folder.

    Args:
        text: the block.
        commands: dict of name to `function(arguments)`, which gives exit code, output and errors.

    Returns:
        What the block printed on standard output.

    Raises:
        AssertionError: where a line ends otherwise than stated, with all that was printed.
    """
    # The shortest path: the name of a socket has at most 107 characters.
    with tempfile.TemporaryDirectory(prefix="page") as folder, socket.socket(socket.AF_UNIX) as hub:
        shims = Path(folder)
        for name in commands:
            (shims / name).write_text(_SHIM)
            (shims / name).chmod(0o755)
        hub.bind(str(shims / "socket"))
        hub.listen()
        hub.settimeout(0.02)
        told = (shims / "stdout").open("w+"), (shims / "stderr").open("w+")
        with told[0], told[1]:
            process = subprocess.Popen(
                ["bash", "-eu", "-o", "pipefail", "-c", with_exit_codes(text)],
                stdin=subprocess.DEVNULL,
                stdout=told[0],
                stderr=told[1],
                env={**os.environ, "PATH": f"{shims}{os.pathsep}{os.environ['PATH']}"},
            )
            try:
                while process.poll() is None:
                    _serve(hub, commands)
            finally:
                process.kill()
                process.wait()
            out, err = (Path(one.name).read_text() for one in told)
    assert process.returncode == 0, f"exit code {process.returncode}\n{out[-2000:]}{err[-3000:]}"
    return out


def with_exit_codes(text):
    """The block as a program for bash: one line for each command, with the code that it states."""
    lines = []
    text = text.replace(".venv/bin/", "")  # The environment's programs are those of the table.
    for line in re.sub(r"[ \t]*\\\n\s*", " ", text).splitlines():
        stated = re.search(r"\s# exit code (\d+)\s*$", line)
        if stated:
            said = f"stated is exit code {stated[1]}, and it was $rc: {_short(line)}"
            line = (
                f"rc=0; {line[: stated.start()]} || rc=$?\n"
                f'if [ "$rc" != {stated[1]} ]; then echo {_quoted(said)} >&2; exit 1; fi'
            )
        lines.append(line)
    return "\n".join(lines)


def of_console(text):
    """The commands of a block in which they follow `$ ` and their output follows them.

    Returns:
        List of pairs: a command, and the output that is stated, or "".
    """
    pairs = []
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, output = re.fullmatch(r"((?:.*\\\n)*.*)\n?([\s\S]*)", part).groups()
        pairs.append((command, output.strip()))
    return pairs


def _serve(hub, commands):
    try:
        connection, _ = hub.accept()
    except TimeoutError:
        return
    with connection:
        connection.settimeout(None)
        call = json.loads(b"".join(iter(lambda: connection.recv(65536), b"")))
        before, folder = dict(os.environ), os.getcwd()
        try:
            os.chdir(call["folder"])
            # Without the block's PATH, on which a command that starts `make` would wait for itself.
            os.environ.update({**call["environment"], "PATH": os.environ["PATH"]})
            reply = commands[call["command"]](call["arguments"])
        finally:
            os.chdir(folder)
            os.environ.clear()
            os.environ.update(before)
        connection.sendall(json.dumps(reply).encode())


def _short(line):
    return " ".join(line.split())[:200]


def _quoted(text):
    return (
        '"' + re.sub(r'(["\\`])', r"\\\1", text).replace("$", r"\$").replace(r"\$rc", "$rc") + '"'
    )
