"""Every call that a client makes, as a value: the bytes that go up, and what its answer means. No input or output."""
