"""How a replica is executed: the engine port, its adapters, and reading what an engine says."""
