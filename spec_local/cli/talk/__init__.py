"""A conversation in a terminal: what is typed, what is shown, and the commands between."""
