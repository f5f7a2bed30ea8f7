"""From recordings to training speech: shards, utterances, manifests, telephone effects, voices."""
