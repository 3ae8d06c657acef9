"""The prompts and answer rules, measured on a small real model."""
