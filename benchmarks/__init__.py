"""Benchmarks on real parts: `python -m benchmarks quick | scale | kills`. A number counts only beside its floor.

Machines of one kind differ by a factor of three, and so does one machine from hour to hour. So every number is
printed with what the same machine could do at best in the same run: the raw relay for a hop, the raw clients for a
rate, and the worst delay of an event loop that has nothing to do for a silence.
"""
