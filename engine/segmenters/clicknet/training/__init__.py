"""How clicknet's weights are made: pictures, simulated clicks, losses, the training loop."""
