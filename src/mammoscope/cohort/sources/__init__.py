"""One adapter for each published data set: its files to the manifest."""
