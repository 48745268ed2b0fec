"""Running a benchmark: contenders, lockstep, measurements."""
