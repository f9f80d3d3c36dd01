"""From a path on a medium to weights that may be loaded: quarantine, approvals, and the record beside the weights."""
