"""Search for good settings of a classifier: a trial for each of some settings, as tasks on many workers."""
