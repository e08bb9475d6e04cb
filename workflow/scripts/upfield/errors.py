"""The kinds of expected failure: the user's input as a whole, one scan, and what may pass."""


class UpfieldError(Exception):
    """A mistake in the user's input: one line that says what was found, what was expected and what to do."""


class ScanError(UpfieldError):
    """One scan cannot be used; it is excluded with this reason and the others go on."""


class PassingError(UpfieldError):
    """A file cannot be read now (no permission, a drive that does not answer), which says nothing about the file."""
