"""`python -m emofuse` is the command `emofuse`."""

from emofuse.commands import main

if __name__ == "__main__":
    main()
