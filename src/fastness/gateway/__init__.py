"""The data plane: the OpenAI API and the journey of a request."""
