"""The two kinds of expected failure: the user's input as a whole, and one scan."""


class UpfieldError(Exception):
    """A mistake in the user's input: one line that says what was found, what was expected and what to do."""


class ScanError(UpfieldError):
    """One scan cannot be used; it is excluded with this reason and the others go on."""
