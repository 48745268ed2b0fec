"""Input that nobody would write: it is used, or refused in a sentence."""
