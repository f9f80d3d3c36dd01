"""The door of a host: one port, mutual TLS, through which the head reaches engines and other hosts reach models."""
