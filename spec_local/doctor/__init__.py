"""What this machine, its llama.cpp and the models here are, and what of it makes them slow."""
