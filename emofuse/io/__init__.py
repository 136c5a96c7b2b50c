"""Files, addresses, images and weights."""
