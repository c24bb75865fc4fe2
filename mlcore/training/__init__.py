"""Training: one loop in plain sight that yields what happens, and a evaluator that evaluates beside it."""
