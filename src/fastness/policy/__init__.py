"""Who may do what: markings, Cedar policies behind a port, and decisions with their reasons."""
