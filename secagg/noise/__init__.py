"""Integer noise: exact distributions, tables with a proven distance from them, and streams of samples."""
