"""Upfield: from a BIDS dataset to a trained, compared and reported MRI enhancement model."""

__version__ = "0.1.0"
