#!/usr/bin/env python
"""`emofuse evaluate` as a file, for `ray job submit`."""

from emofuse.commands import main

if __name__ == "__main__":
    main("evaluate")
