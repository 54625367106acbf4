"""Rewards on a laptop: explain one answer, replay saved rollouts. No Ray, no GPU, no model."""
