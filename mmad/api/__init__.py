"""What Python and the command line share: load, plan, train, evaluate, compare and report, each in one call.

``import mmad`` shows the functions a program needs; the commands call the same ones and add words. A module is
imported when it is needed, so that planning and reporting never load torch, and nothing loads pandas before it makes
a table.
"""
