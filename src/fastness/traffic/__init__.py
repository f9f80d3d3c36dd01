"""Pure decisions about when a request runs and on which replica."""
