"""From logits to a token: llama.cpp's samplers, keyed noise, grammars. Knows no model."""
