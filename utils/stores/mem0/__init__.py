"""Every other vector store of mem0's registry, kept to the same promises."""
