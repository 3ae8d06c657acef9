"""Memories that fade: the forgetting curve, the recall log, and what deletes the forgotten."""
