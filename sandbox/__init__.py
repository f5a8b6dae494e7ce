"""Azure on this machine: Service Bus, Resource Manager, a managed identity and a Functions host, on loopback."""
