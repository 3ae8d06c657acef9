"""Accepted writes carried out: claim, lease, renew, retry, purge. Knows handlers, not memories."""
