"""The workers: loops that claim what is due and carry out what ``decide()`` says."""
