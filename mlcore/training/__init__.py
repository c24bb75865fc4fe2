"""Training: one loop in plain sight that yields what happens, and an evaluator that works beside it."""
