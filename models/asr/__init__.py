"""The recogniser: loading, decoding, words with times and confidence, long calls."""
