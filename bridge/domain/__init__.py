"""Nouns, states and decisions of the bridge: pure, without I/O, standard library only."""
