"""The evidence bundle: what an auditor gets. docs/reference/evidence-bundle.md is its format, to the byte."""
