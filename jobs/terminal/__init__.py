"""What all commands share on a terminal: options, output, progress, errors."""
