"""One promise a file: NAME, PROMISE, applies(kind), check(evidence), and evidence it ACCEPTS and REFUSES."""
