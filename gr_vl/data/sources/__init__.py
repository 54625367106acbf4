"""Public corpora and benchmarks in their own shapes, one file each."""
