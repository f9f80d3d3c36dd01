"""What can be proved: an append-only, hash-chained log, durable before an answer is given."""
