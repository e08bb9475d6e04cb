"""Images: the only code that loads, saves and resamples them, their transforms, their intensities."""
