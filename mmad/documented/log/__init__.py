"""Reads experiment logs in the form of the documented one, compares entries with runs, finds slips by rule."""

from mmad.documented.log.model import Log, LogEntry
from mmad.documented.log.reader import read_log, read_log_file

__all__ = ["Log", "LogEntry", "read_log", "read_log_file"]
