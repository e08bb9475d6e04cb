"""From trained models to enhanced images."""
