"""The parts of the replication benchmark."""
