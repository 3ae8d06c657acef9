"""The composition root: what one credential set opens, shares and closes."""
