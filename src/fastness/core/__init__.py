"""Values and laws. Standard library only: no clock, no randomness, no I/O."""
