"""The worker: maintenance on VM scale sets, requested over Service Bus and carried out over Azure Resource Manager."""
