"""Training: one loop in plain sight that yields what happens, and a watcher that evaluates beside it."""
