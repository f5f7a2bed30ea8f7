"""The labelling rules, one idea a file; a file in this folder is found by its name.

Each has `LABEL` (what it votes on, see data/labelling/scheme.py), `EXAMPLES` (pairs of keyword
arguments of `data.labelling.view.a_contact` and the vote expected, None for no vote) and
`vote(contact)`, which returns one of the label's values or None. A rule need not be right always;
it should be right for another cause than the others.
"""
