"""Hosts that trust each other: the installation's authority, certificates of hosts, revocation, signed envelopes."""
