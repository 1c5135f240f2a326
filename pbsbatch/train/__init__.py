"""Make the shipped models: read labelled fields, compose batches, teach, judge."""
