"""Source and target of the same participant: two sessions, two scanners, a table of samples."""

from upfield.study.designs.base import Design


class Paired(Design):
    """Each source has a target that was acquired."""

    name = "paired"
    meaning = "source and target of the same participant"
    takes_channels = takes_phantom = True


DESIGN = Paired()
