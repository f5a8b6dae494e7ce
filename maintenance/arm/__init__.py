"""Gateway to Azure Resource Manager: authorised calls, and their responses read into observations."""
