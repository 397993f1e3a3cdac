"""Talk to a run's result."""
