"""A small scene of our own, rendered as a capture together with the truth about its objects."""
