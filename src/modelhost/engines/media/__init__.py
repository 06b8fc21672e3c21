"""What the engines for sound share: the engine on the host's side, and the worker, which does one job at a time."""
