"""The state store's schema over time: one file per step."""
