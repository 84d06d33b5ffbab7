"""Ways to run the bridge: on one machine here; images, charts and manifests beside it."""
