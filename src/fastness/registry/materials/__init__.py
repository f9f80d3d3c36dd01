"""What an installation is made of: its distributions, held against their records and locks, and its models."""
