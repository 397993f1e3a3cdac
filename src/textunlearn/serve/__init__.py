"""The chat page and OpenAI's chat API over one run: the original and the aligned model, side by side, from one model in memory.

    guard (who may ask) ─► app (routes) ─► bodies (what is asked) ─► engine (one thread, batches) ─► pair (both models in one)

Needs `textunlearn[serve]`; nothing else imports this package.
"""
