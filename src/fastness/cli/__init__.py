"""One file per verb; every verb talks to the management API."""
