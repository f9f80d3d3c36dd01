"""Witnesses: another department that signs what it saw of a log, and only what grew out of what it saw before."""
