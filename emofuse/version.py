"""The version, said once: the package, its wheel and the records of its runs have it from here."""

__version__ = "0.1.0"
