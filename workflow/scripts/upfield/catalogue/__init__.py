"""Facts as data, known without torch: methods, metrics, brain tools, settings."""
