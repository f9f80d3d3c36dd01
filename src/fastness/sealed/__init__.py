"""Content that a department chose to keep, sealed: written by gateways that cannot open it, opened by two people."""
