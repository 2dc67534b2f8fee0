"""The Faust shell around the pure core: Kafka in, Kafka out. Start reading at app.py, then partition.py."""
