"""From a solid volume to a coloured mesh on disk: fill, extract, colour, export."""
