"""The pipeline, one module a stage: each composes its part of the recipe, checks it, and hands it to verl."""
