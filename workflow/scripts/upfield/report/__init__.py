"""The study's report: one HTML page that opens from disk and needs nothing else; another for an applied model."""
