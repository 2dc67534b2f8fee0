"""The command `indegree`: the one door for people on a terminal. main.py lists the commands."""
