"""Stages as Ray jobs: what is sent, how it is followed to its end, why it waits. Ray is imported only when needed."""
