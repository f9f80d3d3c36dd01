"""Files and batches: kept sealed, worked off at batch priority through the gateway, safe against any crash.

`progress.py` is what a batch goes through; `runner.py` drives it; docs/explanation/batches.md tells how files are kept.
"""
