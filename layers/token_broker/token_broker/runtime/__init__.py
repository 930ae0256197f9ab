"""Everything that is specific to Lambda: settings, wiring, HTTP shapes, logs and metrics."""
