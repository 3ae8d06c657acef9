"""Credentials as people paste them, turned into frozen settings."""
