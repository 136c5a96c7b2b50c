"""The sweep over filters, thresholds and gates of sequences."""
