"""The embedded KFP backend: the v2beta1 server, its store, and the driver and launcher that run pipelines."""
