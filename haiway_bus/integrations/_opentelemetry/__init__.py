"""The rooms behind `haiway_bus.integrations.opentelemetry`: not public."""
