"""The rooms behind `haiway_bus.integrations.nats`: not public."""
