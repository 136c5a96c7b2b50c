"""Hostile inputs: what a stranger's images, tables, weights, names and addresses may try, and what happens then.

Each attack makes its own files in an empty folder, tries, and returns one line of what happened;
it raises AssertionError where the attempt succeeds, or ends in anything but a stated refusal.
A pickle that is ever run leaves a file called `owned` in that folder.
"""

from attacks import addresses, images, names, tables, weights
from attacks.common import ATTACKS, Attack, attempt

__all__ = ["ATTACKS", "Attack", "addresses", "attempt", "images", "names", "tables", "weights"]
