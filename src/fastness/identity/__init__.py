"""Who asks: API keys, OIDC access tokens and client certificates, each turned into a principal."""
