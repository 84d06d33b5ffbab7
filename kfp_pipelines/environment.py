"""What components run in: one image and one exact set of packages, so that one environment serves all."""

BASE_IMAGE = "python:3.11"

TRAINING_PACKAGES = [
    "numpy==2.4.6",
    "pandas==3.1.1",
    "pyarrow==26.0.1",
    "scikit-learn==1.9.1",
    "scipy==1.17.1",
    "skops==0.16.0",
]
"""What decides a number is pinned, scikit-learn's own numpy and scipy too. skops stores a model as data that
names its types, where a pickle is a program that runs when it is loaded."""
