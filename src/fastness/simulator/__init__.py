"""The production decisions on simulated fleets, traces and faults: a test instrument, and a planning tool."""
