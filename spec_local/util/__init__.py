"""Small helpers that know nothing of the project but its errors."""
