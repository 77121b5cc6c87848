"""One file for each command: the only place that parses arguments, prints, seeds and sets exit codes."""
