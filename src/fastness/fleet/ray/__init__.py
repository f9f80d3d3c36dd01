"""Nodes reached through Ray: it carries letters, and tells which hosts are there. Nothing else of Ray is used."""
