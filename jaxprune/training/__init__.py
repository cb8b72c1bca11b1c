"""Training: experience, PPO, and one member's iteration of act, learn, prune."""
