"""The provider: the credentials form, and checking what was pasted into it."""
