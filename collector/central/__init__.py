"""Once: ingest, validate, store, registry, close, service."""
