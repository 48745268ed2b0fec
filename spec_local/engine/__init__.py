"""The round: draft, evaluate, verify, roll back. Read `decode.py` first."""
