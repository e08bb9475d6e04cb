"""Training: one small loop for every method, checkpoints that hold everything, a log of every epoch."""
