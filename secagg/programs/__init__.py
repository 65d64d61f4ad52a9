"""What our command-line programs share: errors in one line, options that are read alike, key files, durable folders."""
