"""The REST API of Azure Resource Manager: requests and responses as values, without a server."""
