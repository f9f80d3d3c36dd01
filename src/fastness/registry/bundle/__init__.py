"""Bundles: models, adapters and policy, signed, in one file or directory that is carried across an air gap."""
