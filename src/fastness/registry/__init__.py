"""Models: found, verified, converted, and laid down by digest."""
