"""The files of a run: atomic writes, tables, the summary, and what lies where in a workdir and in a SavedModel."""
