"""What runs the stages.

Settings, parameters, context, stage graph and cache, heartbeats and notifications.
"""
