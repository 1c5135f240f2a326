"""Make the cell classifier: read single-cell pictures, keep duplicates together, cut crops, teach, calibrate, judge."""
