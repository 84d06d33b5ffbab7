"""The commands of ``kfbridge``, one module each.

A module offers ``register(commands)``, which declares its options and costs nothing, and a function
that runs it. What a command needs beyond the standard library is imported when it runs.
"""
