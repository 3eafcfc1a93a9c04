"""Fields that other programs trained: their checkpoints read safely, and what of them our own fields don't have."""
