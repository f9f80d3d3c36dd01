"""Fastness: sovereign LLM inference. ARCHITECTURE.md has the rooms; gateway/journey.py has the request."""

__version__ = "0.1.0"
