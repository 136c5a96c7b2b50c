"""Phase 0: the training of a head, and of the tower under it."""
