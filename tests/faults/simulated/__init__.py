"""A bridge of several processes, its backend and its clock, all inside one test and one thread.

The service's own code runs: ``Acceptance``, the workers, the lineage on a real database. What a process does
between two looks at the world (a transaction, a request, its answer) is one step, and the test says which
process takes the next, what goes wrong with it, and when a process dies: any interleaving, again and again.
"""
