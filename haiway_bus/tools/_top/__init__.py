"""The rooms behind `haiway_bus.tools.top`: not public."""
