"""The llama.cpp adapter: its dialect, its grammars, and the process that runs inside the seal."""
