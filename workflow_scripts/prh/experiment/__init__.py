"""An experiment: its schema, checks, plan and costs."""
