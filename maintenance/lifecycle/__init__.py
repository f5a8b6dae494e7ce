"""State machine of an operation: from (operation, observation, now) to the next action. Pure."""
