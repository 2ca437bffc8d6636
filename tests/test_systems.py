"""What one operating system has and another lacks is used in few files, each with its reason."""

import ast
from pathlib import Path

import keras_espmedsam

PACKAGE = Path(keras_espmedsam.__file__).parent
# What Windows or macOS has no equal of: modules, and attributes of any module.
SYSTEMS = {"fcntl", "msvcrt", "resource", "ctypes", "pwd", "grp", "termios", "winreg"}
SYSTEMS |= {"fork", "waitpid", "killpg", "posix_fallocate", "pthread_kill", "platform", "SIGHUP"}
SYSTEMS |= {"setrlimit", "getuid", "geteuid", "sched_getaffinity", "mkfifo", "uname", "SIGKILL"}
SEAMS = {
    "_files/disk_space.py": "room on a disk",
    "_files/locks.py": "locks",
    "_files/replaced_folders.py": "names that are exchanged in one step",
    "_files/temporary.py": "an open file that cannot be renamed",
    "_startup.py": "a forked process that keeps what native libraries print last",
    "cli/doctor.py": "says which system it is",
    "cli/interruption.py": "signals that are sent again",
    "data/formats/quiet_libraries.py": "libtiff's messages, by its own functions",
    "data/formats/time_limit.py": "an exception raised in another thread: CPython on any system",
    "distillation/feature_store.py": "room on a disk",
    "export/bounded_runtime.py": "a limit of memory, on Linux",
}


def names_of_a_system(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from SYSTEMS.intersection(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from SYSTEMS.intersection([node.module.split(".")[0]])
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if node.value.id in ("os", "sys", "signal") and node.attr in SYSTEMS:
                yield node.attr


def test_systems_differ_in_these_files_alone():
    found = {
        file.relative_to(PACKAGE).as_posix()
        for file in PACKAGE.rglob("*.py")
        if any(names_of_a_system(ast.parse(file.read_text(encoding="utf-8"))))
        or "import platform" in file.read_text(encoding="utf-8")
    }
    assert found == set(SEAMS)


def test_text_is_read_and_written_as_utf8_on_every_system():
    """Without an encoding Windows takes its code page's; examples in docstrings write ASCII."""
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                if node.func.attr in ("read_text", "write_text"):
                    given = {keyword.arg for keyword in node.keywords}
                    assert "encoding" in given, f"{file}:{node.lineno}"
