"""What makes data sets of other forms, one module for each form.

An importer reads its tables with ``mmad.data.tables``, looks at its images with ``common.find_images``, chooses its
clinical columns with ``common.choose_cells``, and writes with ``mmad.data.writer.write_tables`` within
``common.importing``, which leaves a whole data set or nothing. ``mmad.cli.data`` gives it a command.
"""
