"""Relations between what is remembered: the graph store, and edges that know the memory they stem from."""
