"""The sandbox an engine runs in, and the proof that nothing leaves it."""
