"""Conversation history mined into memories: the client of Dify's API, the scan, tasks and their worker pool."""
