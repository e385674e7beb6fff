"""Builds the documented log's data set from REFLACX, MIMIC-CXR-JPG, MIMIC-IV and MIMIC-IV-ED.

All of it stays on this machine. A message, a log line or a summary names files, lines, columns and ids; never what
a cell of a patient holds.
"""
