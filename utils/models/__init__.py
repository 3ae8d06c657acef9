"""Chat model, embedder and reranker: mem0's objects, bounded in time, checked, with errors of one tree."""
