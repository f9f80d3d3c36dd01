"""Where replicas run. Today: this machine."""
