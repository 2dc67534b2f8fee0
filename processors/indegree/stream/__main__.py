"""`python -m indegree.stream`: one engine process with the settings of the environment, as tests start it."""

from __future__ import annotations

import logging
import sys

from indegree.events.settings import Settings
from indegree.stream.app import run_engine

if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("indegree.stream").setLevel(logging.DEBUG)  # every takeover by itself, with its details
    sys.exit(run_engine(Settings.load()))
