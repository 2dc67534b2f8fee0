"""`--reload`: tells when a source file of the given modules has changed.

Looked at every half second: the files of the modules' packages, and those of imported modules that lie in the working
folder (bounded). A change that does not compile is reported and not loaded, so a half-written file does not end the
worker. The caller drains and starts the process anew; nothing is patched into a running one.
"""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

log = logging.getLogger(__name__)

LOOK_S = 0.5
_MAX_FILES = 2_000


class SourceFiles:
    """The watched files and how they looked."""

    def __init__(self, modules: Iterable[str], folder: Path | None = None) -> None:
        self._tops = sorted({name.partition(":")[0].partition(".")[0] for name in modules})
        self._folder = (folder or Path.cwd()).resolve()
        self._seen = self._look()

    async def changed(self) -> Path:
        """Waits until a file has changed, come or gone, and compiles; gives its path."""
        while True:
            await asyncio.sleep(LOOK_S)
            now = await asyncio.to_thread(self._look)
            different = [path for path in {*now, *self._seen} if now.get(path) != self._seen.get(path)]
            self._seen = now
            if not different:
                continue
            broken = [path for path in different if not self._compiles(path)]  # each is reported
            if not broken:
                return different[0]

    def _compiles(self, path: Path) -> bool:
        try:
            compile(path.read_bytes(), str(path), "exec")
        except FileNotFoundError:
            return True
        except (OSError, SyntaxError, ValueError) as error:
            log.error("%s has changed and is not loaded: %s", path, error)
            return False
        return True

    def _look(self) -> dict[Path, tuple[int, int]]:
        found: dict[Path, tuple[int, int]] = {}
        for path in self._files():
            try:
                about = path.stat()
            except OSError:
                continue
            found[path] = (about.st_mtime_ns, about.st_size)
            if len(found) >= _MAX_FILES:
                break
        return found

    def _files(self) -> Iterator[Path]:
        for top in self._tops:
            try:
                spec = importlib.util.find_spec(top)
            except (ImportError, ValueError):
                continue
            if spec is None:
                continue
            if spec.origin and spec.origin.endswith(".py"):
                yield Path(spec.origin)
            for location in spec.submodule_search_locations or ():
                yield from sorted(Path(location).rglob("*.py"))
        for module in list(sys.modules.values()):
            file = getattr(module, "__file__", None)
            if not isinstance(file, str) or not file.endswith(".py"):
                continue
            path = Path(file)
            if path.is_relative_to(self._folder) and "site-packages" not in path.parts:
                yield path
