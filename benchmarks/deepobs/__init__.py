"""What do the optimizers do on DeepOBS's own problems, at DeepOBS's protocol?"""
