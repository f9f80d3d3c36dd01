"""Writing answers: what the engine's deltas become for the client, whole or as a stream."""
