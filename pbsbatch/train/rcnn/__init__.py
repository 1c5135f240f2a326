"""Two-stage detectors: their settings, checkpoints from elsewhere, and their training."""
