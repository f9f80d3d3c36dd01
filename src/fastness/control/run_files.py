"""The files in the run directory by which control, the nodes and the gateways tell each other of the fleet."""

from __future__ import annotations

from typing import Final

ORDERS: Final = "orders.json"
"""What control sends to the node; in the home, as it was last obeyed."""
REPORT: Final = "node.json"
"""What the node says of itself."""
ROUTING: Final = "routing.json"
"""What the node tells gateways: where replicas are."""
LOADS: Final = "load-*.json"
"""What each gateway says of its load."""
ORDERS_OF_OTHERS: Final = "orders"
"""Directory with what control orders each other node to run, as NODE.json; the supervisor seals it into letters."""
REPORTS_OF_OTHERS: Final = "nodes"
"""Directory with what each other node said last, as NODE.json; the supervisor opened the letter that it came in."""
