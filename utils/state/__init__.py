"""The plugin's own state: accepted writes, their queues, and the history of memories."""
