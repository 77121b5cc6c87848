"""Find breast cancer in screening mammograms. Research software, not a medical device."""
