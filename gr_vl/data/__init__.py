"""Corpora: the demo's, converters of public sets, and parquet in and out."""
