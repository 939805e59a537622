"""Fitting a model to a video: objectives, losses, schedules, one loop, and state that survives a kill."""
