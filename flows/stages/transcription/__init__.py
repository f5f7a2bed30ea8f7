"""Transcription of many recordings by several processes."""
