"""Measures of accuracy, uncertainty and stability, and what may be concluded from them.

Arrays are (N,) for one axis or (N, 2) for both, in the order truth, mean, variance; a result has the axes
that went in. Rows that lack a value on an axis are left out of that axis.
"""
