"""``kfbridge doctor``: looks whether everything that the settings name is there, and says what to do."""
