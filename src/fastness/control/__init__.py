"""The control plane: the management API, and keeping the installation as it should be."""
