"""What the contract means in Python: frames in force, topics, ids, the codec, settings, Kafka clients, definitions."""
