"""Skeleton: rerun, skip, mark success (being written)."""
