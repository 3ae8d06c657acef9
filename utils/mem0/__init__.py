"""The one door to mem0's package: its environment, its registries, and building its parts."""
