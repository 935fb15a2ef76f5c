"""From a blank machine to a running reader or central."""
