"""Metrics, logs and traces. They implement `flows.observer.Observer`, so that no flow knows them."""
