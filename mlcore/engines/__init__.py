"""Where a run's process lives: on this machine, or on a cluster."""
