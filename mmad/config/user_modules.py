"""Modules of the user's own that a setup names: where they lie, the hash of their content, and how they are imported.

A module lies beside the ablation file, or is installed. Nothing of it is run here: its imports are read off its text.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.machinery
import importlib.util
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from importlib import metadata
from importlib.abc import MetaPathFinder
from pathlib import Path
from typing import Any

from mmad.base.errors import SpecError
from mmad.base.formatting import short_key
from mmad.config.ablation_file import place_of_part
from mmad.config.messages import nearest
from mmad.config.named_parts import PARTS, is_own, part_path
from mmad.config.protocol import OwnModule
from mmad.config.runs import Ablation, RunSpec

#: More than this is no module that somebody wrote for an ablation.
_MOST_FILES, _MOST_BYTES = 2000, 64 << 20


@dataclass
class _ModuleFiles:
    """The files that a module's hash covers, by the name under which they count, and what they import besides."""

    files: dict[str, Path] = dataclass_field(default_factory=dict)
    tops: list[str] = dataclass_field(default_factory=list)
    versions: dict[str, str] = dataclass_field(default_factory=dict)


def own_parts(run: RunSpec) -> dict[str, str]:
    """The top package or module of every part of the user's own that decides ``run``, by the field that names it."""
    used = run.affecting("architecture", "training")
    named = {field: getattr(run.setup, field) for field in PARTS if field in used}
    tops = {
        field: part_path(field, value).split(":")[0].split(".")[0] for field, value in named.items() if is_own(value)
    }
    return {field: top for field, top in tops.items() if top != "mmad"}


def find_module(top: str, beside: Path | None) -> OwnModule:
    """The module or package ``top`` with the hash of its content.

    The hash covers every file of a package, or the file of a module, and likewise what they import from the same
    folder. Of what they import besides, the versions of the distributions are noted.

    Args:
        top: the first part of a module's name.
        beside: the folder that is looked into first; None for what is installed alone.

    Raises:
        SpecError: there is no such module, or it holds more than a module does.
    """
    folder = None if beside is None or _lies(top, beside) is None else beside.absolute()
    whole = hashlib.sha256()
    try:
        scan = _scan(top, folder)
        for name in sorted(scan.files):
            digest = hashlib.sha256(scan.files[name].read_bytes()).hexdigest()
            whole.update(f"{name}\0{digest}\n".encode())
    except OSError as error:
        raise SpecError(f"cannot be read ({error.strerror})", where=error.filename) from error
    versions = dict(sorted(scan.versions.items()))
    return OwnModule(
        name=top, folder="" if folder is None else str(folder), sha256=whole.hexdigest(), versions=versions
    )


def _scan(top: str, folder: Path | None) -> _ModuleFiles:
    scan, waiting = _ModuleFiles(), [top]
    while waiting:
        name = waiting.pop()
        if name in scan.tops:
            continue
        root = None if folder is None else _lies(name, folder)
        if root is None and name != top and (version := _version(name)) is not None:
            scan.versions[version[0]] = version[1]
            continue
        root = root or _installed(name)
        if root is None:
            if name == top:
                raise _no_module(top, folder)
            continue
        scan.tops.append(name)
        for file in _files(root, top):
            scan.files[file.relative_to(root.parent).as_posix()] = file
            if len(scan.files) > _MOST_FILES:
                raise _too_large(top)
        waiting += [found for file in scan.files.values() for found in _imports(file) if found not in scan.tops]
    return scan


def _lies(top: str, folder: Path) -> Path | None:
    """The file or folder of the module ``top`` in ``folder``."""
    file, package = folder / f"{top}.py", folder / top
    if (package / "__init__.py").is_file():
        return package
    if file.is_file():
        return file
    return package if package.is_dir() and any(package.glob("*.py")) else None


def _installed(top: str) -> Path | None:
    """The file or folder of the module ``top`` that this Python finds by itself."""
    if top in sys.stdlib_module_names or top == "mmad":
        return None
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    if spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations)))
    return Path(spec.origin) if spec.origin and Path(spec.origin).is_file() else None


@functools.cache
def _distributions() -> dict[str, str]:
    """Top module → the first distribution that holds it."""
    return {top: names[0] for top, names in metadata.packages_distributions().items()}


def _version(top: str) -> tuple[str, str] | None:
    """The distribution that holds the module ``top``, and its version."""
    name = _distributions().get(top)
    return None if name is None or top == "mmad" else (name, metadata.version(name))


def _files(root: Path, top: str) -> Iterator[Path]:
    if root.is_file():
        yield root
        return
    size = 0
    for file in sorted(root.rglob("*")):
        inside = file.relative_to(root).parts
        hidden = any(part.startswith(".") or part == "__pycache__" for part in inside)
        if hidden or not file.is_file():
            continue
        size += file.stat().st_size
        if size > _MOST_BYTES:
            raise _too_large(top)
        yield file


def _too_large(top: str) -> SpecError:
    return SpecError(
        f"the package {top} holds more than {_MOST_FILES:,} files or {_MOST_BYTES >> 20} MiB, too much for its hash",
        hint="write a module of your own that imports what you need of it, and name that",
    )


@functools.lru_cache(maxsize=4096)
def _imported(text: bytes) -> tuple[str, ...]:
    try:
        nodes = list(ast.walk(ast.parse(text)))
    except (SyntaxError, ValueError, RecursionError):  # its import will say so
        return ()
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module and not node.level]
    return tuple(dict.fromkeys(name.split(".")[0] for name in names))


def _imports(file: Path) -> tuple[str, ...]:
    """The top modules that a file of Python imports, Python's own and ours left out."""
    if file.suffix != ".py":
        return ()
    return tuple(n for n in _imported(file.read_bytes()) if n not in sys.stdlib_module_names and n != "mmad")


_NOT_THERE = "put it beside the ablation file, or install it"


def _no_module(top: str, folder: Path | None) -> SpecError:
    if top in sys.stdlib_module_names:
        return SpecError(f"{top} is a module of Python itself", hint="name a class of a module of your own")
    return SpecError(f"there is no module {top}", hint=_NOT_THERE)


def with_modules(ablation: Ablation) -> Ablation:
    """``ablation`` with the hash of every module of the user's own that its runs name, each read once.

    Raises:
        SpecError: a module that is not there, with the line that names it.
    """
    beside = Path(ablation.path).absolute().parent
    found: dict[str, OwnModule] = {}

    def modules(run: RunSpec) -> tuple[OwnModule, ...]:
        parts = own_parts(run)
        for field, top in parts.items():
            if top not in found:
                try:
                    found[top] = find_module(top, beside)
                except SpecError as error:
                    where = place_of_part(ablation, field, getattr(run.setup, field))
                    hint = _beside_hint(top, beside) if error.hint == _NOT_THERE else error.hint
                    raise SpecError(f"{field}: {error.what}", where=where, hint=hint) from None
        return tuple(found[top] for top in dict.fromkeys(parts.values()))

    return ablation.naming_modules(modules)


def _beside_hint(top: str, beside: Path) -> str:
    """The hint for a module that is not there: the nearest one in the ablation file's folder."""
    here = [path.stem for path in beside.glob("*.py")] + [path.parent.name for path in beside.glob("*/__init__.py")]
    best = nearest(top, here)
    return f"{_NOT_THERE}; did you mean {best}?" if best else _NOT_THERE


# Importing them: registered with the folder they lie in, no folder is put on Python's path.


@dataclass(frozen=True)
class _Registered:
    folder: str
    sha256: str
    tops: tuple[str, ...]


class _OwnModuleFinder(MetaPathFinder):
    """Finds the registered modules in their folders, and no others."""

    def __init__(self) -> None:
        self.modules: dict[str, _Registered] = {}

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> Any:
        """As Python's import system asks for."""
        if "." in fullname:
            return None
        for one in self.modules.values():
            if one.folder and fullname in one.tops:
                return importlib.machinery.PathFinder.find_spec(fullname, [one.folder])
        return None


_FINDER = _OwnModuleFinder()


def make_importable(modules: Sequence[OwnModule]) -> None:
    """Let this process import ``modules``; what it imported of another content under their names is forgotten.

    Raises:
        SpecError: a module that is no longer there, whose content or imports changed since it was named, or whose name
            is that of another one that this process has imported.
    """
    if _FINDER not in sys.meta_path:
        sys.meta_path.insert(0, _FINDER)
    for module in modules:
        folder = Path(module.folder) if module.folder else None
        found = find_module(module.name, folder)
        _require_same(module, found)
        tops = tuple(_scan(module.name, folder).tops)
        registered = _Registered(module.folder, module.sha256, tops)
        stale = {
            name: one
            for name, one in _FINDER.modules.items()
            if one != registered and (name == module.name or (one.folder != module.folder and {*one.tops} & {*tops}))
        }
        if stale:
            forgotten = {*tops, *(top for one in stale.values() for top in one.tops)}
            for name in [one for one in sys.modules if one.split(".")[0] in forgotten]:
                del sys.modules[name]
        _FINDER.modules = {name: one for name, one in _FINDER.modules.items() if name not in stale}
        _FINDER.modules[module.name] = registered
        if folder is not None:
            _require_alone(folder, tops)
    importlib.invalidate_caches()


def _require_alone(folder: Path, tops: Sequence[str]) -> None:
    """Refuses a module in ``folder`` under whose name this process has imported another one."""
    for top in tops:
        file, root = getattr(sys.modules.get(top), "__file__", None), _lies(top, folder)
        if file is not None and root is not None and not Path(file).resolve().is_relative_to(root.resolve()):
            what = f"the module {top} has the name of another, {file}, which is used instead"
            raise SpecError(what, where=str(root), hint="rename it")


def difference(named: OwnModule, found: OwnModule) -> str | None:
    """What of a module differs from what a run was queued with, in words; None when nothing does."""
    if found.sha256 != named.sha256:
        digests = f"its SHA-256 begins {short_key(found.sha256)}, not {short_key(named.sha256)}"
        return f"the module {named.name} has other content: {digests}"
    for name in sorted({*named.versions, *found.versions}):
        here, there = found.versions.get(name, "none"), named.versions.get(name, "none")
        if here != there:
            return f"the module {named.name} imports {name} {here}, not {there}"
    return None


def _require_same(named: OwnModule, found: OwnModule) -> None:
    if (what := difference(named, found)) is not None:
        raise SpecError(
            f"{what}, as when the run was queued",
            where=named.folder or None,
            hint="put it back, or give the ablation file to mmad ablate again, which queues a run of its own",
        )
