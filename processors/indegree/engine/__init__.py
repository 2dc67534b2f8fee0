"""The pure core of one partition: see core.PartitionCore, and ARCHITECTURE.md for the way of the data through it."""
