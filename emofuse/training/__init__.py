"""Phase 0: the training of a head, and of the backbone under it."""
