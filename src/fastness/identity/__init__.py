"""API keys: minted, parsed, and matched by HMAC."""
