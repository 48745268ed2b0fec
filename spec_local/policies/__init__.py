"""When a draft stops, as others decide it: to compare `auto` with, in the benchmark alone."""
