"""What systems other than Linux lack is needed by no import."""

from __future__ import annotations

import subprocess
import sys

import pytest

#: Hides what Windows has not from mmad, once the libraries are loaded, which know of it.
_IMPORT_ALL = """
import importlib, os, pkgutil, signal, sys
import alembic, filelock, matplotlib.pyplot, pandas, psutil, pycocotools, rich.live, scipy, sqlalchemy, torch, typer
import torchvision
UNIX = {"fcntl", "resource", "termios", "tty", "pwd", "grp"}
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name in UNIX:
            raise ImportError(name)
for name in UNIX:
    sys.modules.pop(name, None)
sys.meta_path.insert(0, Hidden())
LACKING = {
    signal: ("SIGHUP", "SIGKILL"),
    os: ("killpg", "setsid", "register_at_fork", "sched_getaffinity", "O_NOFOLLOW"),
}
for module, names in LACKING.items():
    for name in names:
        if hasattr(module, name):
            delattr(module, name)
import mmad
names = [module.name for module in pkgutil.walk_packages(mmad.__path__, "mmad.") if "migrations" not in module.name]
optional = {"ray", "submitit", "tensorboard", "timm", "pydicom", "pyarrow"}
for name in names:
    if name == "mmad.__main__":
        continue
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        assert error.name and error.name.split(".")[0] in optional, (name, error)
print(len(names))
"""


@pytest.mark.slow
def test_every_module_is_imported_without_what_windows_lacks() -> None:
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", _IMPORT_ALL], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 150
