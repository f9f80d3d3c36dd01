"""What is remembered: tenants and keys in SQL, and the snapshots that the gateways read."""
