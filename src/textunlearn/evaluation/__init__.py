"""What is asked of a model (suites), its answers, and the statistics over them."""
