"""Kills bridge services at random moments while runs are submitted, and counts what became of them.

``python -m tests.bench.kills --submissions 1000 --kills 1000``: real processes of the service with their
workers, a backend over HTTP whose runs end by themselves, and clients that submit with keys of their own
and repeat as the bridge's client does. Services get SIGKILL and are started again until there were as many
kills as asked for; the submissions are spread over them. Then everything may come to its end, and is
counted and checked (``tests/faults/invariants.py``). The exit code is 0 only if nothing was lost or doubled.
"""
