"""What this machine charges: measured, certified, learned while writing, and kept."""
