"""From logits to a token: llama.cpp's samplers, keyed noise, constraints. Knows no model."""
