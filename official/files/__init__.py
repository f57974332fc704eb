"""The files of a run: atomic writes, tables, the summary, and the names in a workdir and in a SavedModel."""
