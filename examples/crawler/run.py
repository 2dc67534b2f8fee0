"""Two sites on this machine, crawled at the same time; one of them answers 503 now and then."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from examples.crawler.workflow import crawler
from examples.stage import Stage

PAGES, PLACES, LIMIT = 30, 3, 8


def show(stage: Stage) -> None:
    stage.deploy(crawler)
    stage.client.set_pool("connections", PLACES)
    stage.worker("examples.crawler.workflow")
    connections = Connections()
    with site(connections, broken={"/page/5", "/page/11"}) as one, site(connections) as two:
        runs = {of.url: stage.client.start("crawler", {"site": of.url}) for of in (one, two)}
        for of in (one, two):
            stage.shows(f"{of.url} is crawled", stage.wait(runs[of.url]), "SUCCESS")
            expected = {f"{of.url}page/{number}": len(f"page {number}") for number in range(PAGES)}
            stage.shows(f"all {PAGES} pages of it", runs[of.url]["sizes"].output, expected)
        attempts = [runs[one.url][f"fetch[{number}]"].attempts for number in (5, 6, 11)]
        stage.shows("a page that was not there was tried again", attempts, [2, 1, 2])
        stage.shows(f"never more than {PLACES} at a time, over both", connections.most <= PLACES, True)
        for of in (one, two):
            # A bucket gives LIMIT tokens at once and LIMIT a second from then on. What was granted may reach the site
            # late, on a busy machine: so a second may see one LIMIT more, and all may take a little less.
            fastest = most_within(of.times, 1.0)
            stage.shows(f"{of.url}: {fastest} within a second at most", fastest <= 3 * LIMIT, True)
            took_s, least_s = of.times[-1] - of.times[0], (PAGES - LIMIT) / LIMIT
            stage.shows(f"{of.url}: {PAGES} pages took {took_s:.1f} s", took_s >= 0.6 * least_s, True)


def most_within(times: list[float], seconds: float) -> int:
    """The most of these moments that lie within so many seconds."""
    return max(sum(begin <= at < begin + seconds for at in times) for begin in times)


class Connections:
    """How many requests are being answered, of all sites."""

    def __init__(self) -> None:
        self.now = self.most = 0
        self._lock = threading.Lock()

    @contextmanager
    def one(self) -> Iterator[None]:
        with self._lock:
            self.now += 1
            self.most = max(self.most, self.now)
        yield
        with self._lock:
            self.now -= 1


class Site:
    """A site on loopback. times: when its pages were asked for, seconds; broken: pages that answer 503 once."""

    def __init__(self, connections: Connections, broken: set[str]) -> None:
        self.connections, self.broken = connections, broken
        self.times: list[float] = []
        of = self

        class Answer(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                of.answer(self)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        self.url = f"http://127.0.0.1:{self.server.server_port}/"

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        if request.path == "/":
            text = "".join(f'<a href="/page/{number}">' for number in range(PAGES))
            self.send(request, 200, text)
            return
        with self.connections.one():
            self.times.append(time.monotonic())
            time.sleep(0.02)  # what a page takes
            if request.path in self.broken:
                self.broken.discard(request.path)
                self.send(request, 503, "not now")
            else:
                self.send(request, 200, f"page {request.path.rpartition('/')[2]}")

    def send(self, request: BaseHTTPRequestHandler, status: int, text: str) -> None:
        request.send_response(status)
        request.end_headers()
        request.wfile.write(text.encode())


@contextmanager
def site(connections: Connections, broken: set[str] | None = None) -> Iterator[Site]:
    found = Site(connections, broken or set())
    threading.Thread(target=found.server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield found
    finally:
        found.server.shutdown()
        found.server.server_close()
