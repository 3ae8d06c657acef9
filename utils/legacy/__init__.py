"""What earlier Mem0 plugins for Dify kept among the memories, taken over into the state store."""
