"""What is drawn over the photos."""
