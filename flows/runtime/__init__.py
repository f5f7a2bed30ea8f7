"""What runs the stages: settings, parameters, context, stage graph and cache, heartbeats, notifications."""
