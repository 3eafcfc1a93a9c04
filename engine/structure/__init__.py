"""Structure from motion: from photos or a video without poses to a capture with cameras and sparse points."""
