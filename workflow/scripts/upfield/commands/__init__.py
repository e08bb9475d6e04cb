"""The command line: `upfield`, for what needs no study."""
