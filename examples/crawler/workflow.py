"""Pages of a site are fetched side by side, yet never faster than the site allows, nor too many at a time in all."""

from __future__ import annotations

import re
import urllib.request
from urllib.parse import urljoin

from indegree import Retry, Workflow

crawler = Workflow("crawler", params={"site": str})


def get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return str(answer.read().decode("utf-8"))


@crawler.task(retry=Retry(max_attempts=3, delay="200ms"))
def links(site: str) -> list[str]:
    """The pages that the front page names."""
    return [urljoin(site, found) for found in re.findall(r'href="([^"]+)"', get(site))]


@crawler.task(
    foreach="links",
    pool="connections",
    rate_limit={"key": "params.site", "limit": 8, "per": "1s"},
    retry=Retry(max_attempts=4, delay="200ms", errors=[OSError]),
)
def fetch(item: str) -> int:
    """One page a time and site; each attempt takes a token of its own. HTTPError is an OSError: 503 is tried again."""
    return len(get(item))


@crawler.task
def sizes(links: list[str], fetch: list[int]) -> dict[str, int]:
    return dict(zip(links, fetch, strict=True))
