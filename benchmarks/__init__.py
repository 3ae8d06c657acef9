"""Speed, measured as a ratio to mem0 itself in the same run on the same machine."""
