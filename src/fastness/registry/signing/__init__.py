"""Signatures on models and bundles, as OpenSSF Model Signing writes them: made and checked here, without a network."""
