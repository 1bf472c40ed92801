"""The rooms behind `haiway_bus.tools.picture`: not public."""
