"""A deterministic engine that computes nothing: for tests, simulations, and as the upstream of benchmarks.

It is spoken to like llama.cpp's server, on a Unix socket, and fails in the ways engines fail, on demand.
"""
