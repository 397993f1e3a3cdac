"""What a run would take, before anything is loaded: memory, time and money of each way to train a model (`textunlearn plan`)."""
