"""gr_vl trains multimodal safety guards that reason before they judge.

The pure core (`schema`, `dialects`, `clipping`, `augment`, `evaluation.metrics`, and the `rewards` package) imports
no torch and no verl. `verl_ext` is the only package that imports verl. `stages` holds the pipeline, one file a stage.
"""

__version__ = "0.1.0"
