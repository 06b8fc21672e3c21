"""The benchmark: the host beside the bare worker, in the same run."""
