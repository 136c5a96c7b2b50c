"""A run as people read it: the HTML page, and the table on the terminal. Needs neither torch nor ray."""

from emofuse.report.page import build_report

__all__ = ["build_report"]
