"""Cannot be imported, and says so at length."""

raise RuntimeError('"' * 100_000)
