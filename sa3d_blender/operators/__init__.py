"""What menus and buttons call."""
