"""Brain extraction: one tool a file, one function for all (`extraction.extract`), one check of what comes out.

A module of this package with a `TOOL` is a way of brain extraction (`tool.tools`): the configuration offers it, a plan
asks for what it needs, docs/guide.md lists it, and the methods text says its sentence.
"""
