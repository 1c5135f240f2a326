"""Labelled data sets: read in four formats, looked through, composed into new images with known truth."""
