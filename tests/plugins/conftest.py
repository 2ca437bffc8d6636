"""Another package, installed for one test: its modules, and the entry points that it declares."""

import importlib
import os
import sys
import uuid

import pytest

from keras_espmedsam.registries import registry


@pytest.fixture
def installed_plugin(tmp_path, monkeypatch):
    """Install a package as pip does, for this program and those that it starts.

    `installed_plugin(files, entry_points)`: `files` is a dict of file name to source
    (`{"my_losses.py": "..."}`), and `entry_points` a dict of family to a dict of name to place
    (`{"losses": {"tversky": "my_losses:TverskyLoss"}}`). Returns the folder.
    """
    site = tmp_path / "site-packages"
    modules = []

    def install(files, entry_points=None):
        for name, source in files.items():
            path = site / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(source)
            modules.append(name.removesuffix(".py").partition("/")[0])
        if entry_points:
            # A name of its own: importlib.metadata takes the first distribution of a name alone.
            project = f"plugin_{uuid.uuid4().hex[:8]}"
            info = site / f"{project}-1.0.dist-info"
            info.mkdir(parents=True)
            (info / "METADATA").write_text(
                f"Metadata-Version: 2.1\nName: {project}\nVersion: 1.0\n"
            )
            lines = []
            for family, entries in entry_points.items():
                lines.append(f"[keras_espmedsam.{family}]")
                lines += [f"{name} = {place}" for name, place in entries.items()]
            (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
        if str(site) not in sys.path:
            monkeypatch.syspath_prepend(site)
            path = os.pathsep.join(filter(None, (str(site), os.environ.get("PYTHONPATH"))))
            monkeypatch.setenv("PYTHONPATH", path)
        importlib.invalidate_caches()
        registry._entry_points.cache_clear()
        return site

    yield install
    for name in [one for one in sys.modules if one.partition(".")[0] in modules]:
        del sys.modules[name]
    # The path is restored only after this: what was found on it must be looked for again then.
    monkeypatch.undo()
    importlib.invalidate_caches()
    registry._entry_points.cache_clear()
