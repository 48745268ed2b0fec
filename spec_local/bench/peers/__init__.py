"""Other programs to measure beside: how they are started and asked."""
