"""Statistics: pure functions from numbers to numbers. What they mean is put into words by harness/report."""
