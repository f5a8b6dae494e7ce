"""The worker: carries out maintenance on VM scale sets, requested over Service Bus, through Azure Resource Manager."""
