"""Receipts: an answer's entry with its proof and its salts, found by the id that came with the answer."""
