"""The wire types of the OpenAI API, and their translation into core values. No wire type leaves this package."""
