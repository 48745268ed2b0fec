"""The records of a benchmark's JSON, and what is computed from them."""
