"""The broker's jars: from the lock file to verified files in the user's cache.

Why: a Kafka broker is 34 jars from the Maven world. Nobody should need Maven for them, and nobody should run a jar that
is not byte for byte the one that this release was tested with.

How: kafka.lock (packaged beside this file) lists coordinate, SHA-256 and size of each. A jar in the cache that matches
is used as it is, whatever happens to the network. The others are resolved by jgo, which knows where artifacts live, in
eight threads, into a scratch folder of this call; each is verified there and then moved into the cache by one atomic
rename. So an interrupted download leaves finished jars finished, half a jar is never seen under its final name, and the
next call fetches only what is missing. A file lock lets several processes share one cache: the second waits, then finds
the jars there.

It must never hand out a path whose content was not verified in this call, and names no host: jgo's default repository
is used unless a mirror is set.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Protocol

from .errors import JarError

THREADS = 8  # measured: 34 jars took 8.4 s cold with eight threads; more gave nothing
ATTEMPTS = 3  # a network hiccup is retried; a wrong hash is fetched again as often, and then refused
TIMEOUT_S = 60.0  # per request, not per jar
MIRROR = "INDEGREE_MAVEN_MIRROR"
CACHE = "INDEGREE_CACHE"


@dataclass(frozen=True, slots=True)
class Jar:
    """One line of kafka.lock."""

    group: str
    artifact: str
    version: str
    sha256: str
    size_bytes: int

    @property
    def coordinate(self) -> str:
        return f"{self.group}:{self.artifact}:{self.version}"

    @property
    def filename(self) -> str:
        return f"{self.artifact}-{self.version}.jar"


class Fetch(Protocol):
    """Downloads one jar into `scratch` and returns where it is; may raise anything. Called from several threads."""

    def __call__(self, jar: Jar, scratch: Path, advance: Callable[[int], None]) -> Path: ...


class Progress(Protocol):
    """Told about downloads, from several threads. All sizes are in bytes."""

    def begin(self, jars: int, total_bytes: int) -> None: ...

    def advance(self, count_bytes: int) -> None: ...

    def done(self, jar: Jar) -> None: ...

    def end(self) -> None: ...


class Silent:
    """The progress of a caller that wants to hear nothing."""

    def begin(self, jars: int, total_bytes: int) -> None:
        return

    def advance(self, count_bytes: int) -> None:
        return

    def done(self, jar: Jar) -> None:
        return

    def end(self) -> None:
        return


def lock_text() -> str:
    """The packaged kafka.lock: one `group:artifact:version sha256 size` a line."""
    return files(__package__).joinpath("kafka.lock").read_text(encoding="utf-8")


def read_lock(text: str) -> tuple[Jar, ...]:
    """Parse a lock file; a line that is not three fields, or names a jar twice, is refused with its number."""
    jars: list[Jar] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        fields = line.split()
        names = fields[0].split(":")
        if len(fields) != 3 or len(names) != 3 or len(fields[1]) != 64 or not fields[2].isdigit():
            raise JarError(f"kafka.lock line {number}: {line!r} is not `group:artifact:version sha256 size`")
        jars.append(Jar(names[0], names[1], names[2], fields[1], int(fields[2])))
    if len({jar.filename for jar in jars}) != len(jars):
        raise JarError("kafka.lock names a jar twice; each file name may stand in it once")
    return tuple(jars)


def cache_folder() -> Path:
    """Where verified jars live: INDEGREE_CACHE, else indegree/ in the user's cache folder."""
    if chosen := os.environ.get(CACHE):
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "indegree"


def fault(jar: Jar, path: Path) -> str | None:
    """Why this file is not that jar, or None when it is (size and SHA-256 of all its bytes)."""
    try:
        size = path.stat().st_size
        if size != jar.size_bytes:
            return f"has {size} bytes, kafka.lock says {jar.size_bytes}"
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return "is not there"
    return None if digest == jar.sha256 else f"has SHA-256 {digest}, kafka.lock says {jar.sha256}"


def ensure(
    jars: Sequence[Jar],
    cache: Path,
    *,
    fetch: Fetch | None = None,
    progress: Progress | None = None,
    pause_s: float = 0.5,
) -> list[Path]:
    """Return verified paths of all jars, fetching what is missing or wrong. Blocks until done.

    `pause_s` is the wait before the second attempt at a jar; it doubles. Raises JarError, which names the coordinate,
    the cache folder and what to do.
    """
    folder = cache / "jars"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise JarError(
            f"cannot make the cache folder {folder}: {error}; set {CACHE} to a folder you may write"
        ) from error
    with _alone(cache):
        wanted = [jar for jar in jars if fault(jar, folder / jar.filename) is not None]
        if wanted:
            _download(wanted, cache, folder, fetch or jgo_fetch(), progress or Silent(), pause_s)
    return [folder / jar.filename for jar in jars]


@contextmanager
def _alone(cache: Path) -> Iterator[None]:
    """Hold the cache's lock file; the kernel drops it when this process dies in any way."""
    with (cache / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _download(
    wanted: Sequence[Jar], cache: Path, folder: Path, fetch: Fetch, progress: Progress, pause_s: float
) -> None:
    for stale in cache.glob("fetching-*"):  # of a process that died; we hold the lock, so nobody else is fetching
        shutil.rmtree(stale, ignore_errors=True)
    scratch = Path(tempfile.mkdtemp(prefix="fetching-", dir=cache))
    progress.begin(len(wanted), sum(jar.size_bytes for jar in wanted))
    try:
        with ThreadPoolExecutor(THREADS, thread_name_prefix="jars") as pool:
            futures = [pool.submit(_one, jar, cache, folder, scratch, fetch, progress, pause_s) for jar in wanted]
            try:
                wait(futures, return_when=FIRST_EXCEPTION)
            finally:  # also at Ctrl-C: what has begun may end, the rest is not begun
                for future in futures:
                    future.cancel()
            for future in futures:
                if not future.cancelled():
                    future.result()
    finally:
        progress.end()
        shutil.rmtree(scratch, ignore_errors=True)


def _one(jar: Jar, cache: Path, folder: Path, scratch: Path, fetch: Fetch, progress: Progress, pause_s: float) -> None:
    reason: Exception | str = "was not tried"
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(pause_s * 2 ** (attempt - 1))
        counted = 0

        def advance(count_bytes: int) -> None:
            nonlocal counted
            counted += count_bytes
            progress.advance(count_bytes)

        place = scratch / f"{jar.filename}.{attempt}"
        try:
            got = fetch(jar, place, advance)
        except Exception as error:  # noqa: BLE001 - whatever a downloader raises is a reason to try again, then to report
            reason = error
        else:
            wrong = fault(jar, got)
            if wrong is None:
                got.replace(folder / jar.filename)
                progress.advance(jar.size_bytes - counted)
                progress.done(jar)
                return
            reason = f"what was fetched {wrong}"
        progress.advance(-counted)
    raise JarError(
        f"cannot get {jar.coordinate} ({jar.size_bytes:,} bytes): {_short(reason)}.\n"
        f"Finished jars are kept in {folder}, and the next try fetches only what is missing. If this machine has no "
        f"network, copy the folder {cache} from one that has; if it reaches Maven artifacts through a mirror, set "
        f"{MIRROR} to the mirror's address."
    )


def _short(reason: Exception | str) -> str:
    if isinstance(reason, str):
        return reason
    text = " ".join(str(reason).split()) or "no message"
    return f"{type(reason).__name__}: {text[:300]}"


def jgo_fetch() -> Fetch:
    """A Fetch that asks jgo. INDEGREE_MAVEN_MIRROR, if set, is the only repository that is asked."""
    try:
        from jgo.maven import MavenContext, PythonResolver
    except ImportError as error:
        raise JarError("the local stack needs its packages: pip install 'indegree[stack]'") from error
    logging.getLogger("jgo").setLevel(logging.ERROR)
    mirror = os.environ.get(MIRROR)
    remotes = {"mirror": mirror.rstrip("/")} if mirror else None

    def fetch(jar: Jar, scratch: Path, advance: Callable[[int], None]) -> Path:
        @contextmanager
        def report(_name: str, _total_bytes: int) -> Iterator[Callable[[int], None]]:
            yield advance

        context = MavenContext(
            resolver=PythonResolver(progress_callback=report),
            repo_cache=scratch,
            local_repos=[],
            remote_repos=remotes,
            timeout=int(TIMEOUT_S),
        )
        found = context.project(jar.group, jar.artifact).at_version(jar.version).artifact().resolve()
        return Path(found)

    return fetch
