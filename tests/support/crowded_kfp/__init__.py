"""A KFP server with a hundred thousand runs, as a process of its own, that behaves as KFP does at that size.

``rows`` holds the runs, ``lists`` filters, sorts and pages them, ``metadata`` answers as MLMD does,
``server`` puts them on a port beside a second one for what tests ask of it, and ``process`` starts all that.
"""
