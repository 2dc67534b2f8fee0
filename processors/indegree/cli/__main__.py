"""`python -m indegree.cli`: the command without its script, for child processes."""

from .main import main

if __name__ == "__main__":
    main()
