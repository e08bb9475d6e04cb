"""A study: its configuration, index, splits and designs."""
