"""The benchmark: real prompts, contenders in lockstep, a result that can be kept and compared."""
