"""Inspection: an artefact is read as if an enemy had made it, in a sealed process, before anything else touches it."""
