"""Simulated acquisitions, and images drawn from label maps: on any device, from seeds alone."""
