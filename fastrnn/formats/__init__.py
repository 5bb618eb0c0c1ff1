"""Files of other programs, read and written without those programs."""
