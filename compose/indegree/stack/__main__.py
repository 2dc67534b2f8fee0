"""`python -m indegree.stack up|status|env|down`, for where the command `indegree` is not wanted."""

import sys

from .commands import main

sys.exit(main())
