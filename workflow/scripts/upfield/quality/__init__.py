"""Quality control: what each scan and each pair measures, and whether a pair may be used."""

# What is drawn of every pair.
PICTURES = ("source-mask", "target-mask", "before", "after", "checkerboard")
