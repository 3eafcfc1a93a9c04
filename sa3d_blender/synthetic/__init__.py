"""Random scenes with exact masks, rendered with Cycles, that the click segmenter of the engine is trained on."""
