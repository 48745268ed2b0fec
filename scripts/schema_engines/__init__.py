"""JSON schemas as constraints: the project's own grammar beside llguidance, measured."""
