"""What the engines for sound and images share: the engine on the host's side, and a worker for one job at a time."""
