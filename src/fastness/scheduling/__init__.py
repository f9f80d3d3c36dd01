"""Pure decisions about where: fit, placement, shares, scaling, rolling. State and time come in, values go out."""
