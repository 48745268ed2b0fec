"""From results to words, tables and plots."""
