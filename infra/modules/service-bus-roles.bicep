// What the app may do in Service Bus: per queue and topic, never on the namespace.

@description('Name of the namespace.')
param namespaceName string

@description('Name of the queue that requests come in by.')
param requestsQueueName string

@description('Name of the queue that holds the state of all runs.')
param operationsQueueName string

@description('Name of the queue of leases and cancellation markers.')
param coordinationQueueName string

@description('Name of the topic of events.')
param eventsTopicName string

@description('Principal id of the identity of the app.')
param hostPrincipalId string

@description('Resource id of the role that reads the properties of queues.')
param queueReaderRoleId string

@description('Text that marks role assignments of this environment, for its removal.')
param owner string

var receiver = subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '4f6d3b9b-027b-4f4c-9142-0e5a2a2247e0')
var sender = subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '69a216fc-b8fb-44d8-bc22-1f3c2cd27a39')

resource namespace 'Microsoft.ServiceBus/namespaces@2024-01-01' existing = {
  name: namespaceName
}

resource requestsQueue 'Microsoft.ServiceBus/namespaces/queues@2024-01-01' existing = {
  parent: namespace
  name: requestsQueueName
}

resource operationsQueue 'Microsoft.ServiceBus/namespaces/queues@2024-01-01' existing = {
  parent: namespace
  name: operationsQueueName
}

resource coordinationQueue 'Microsoft.ServiceBus/namespaces/queues@2024-01-01' existing = {
  parent: namespace
  name: coordinationQueueName
}

resource eventsTopic 'Microsoft.ServiceBus/namespaces/topics@2024-01-01' existing = {
  parent: namespace
  name: eventsTopicName
}

resource requestsReceiver 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(requestsQueue.id, hostPrincipalId, receiver)
  scope: requestsQueue
  properties: {
    principalId: hostPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: receiver
    description: owner
  }
}

resource operationsReceiver 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(operationsQueue.id, hostPrincipalId, receiver)
  scope: operationsQueue
  properties: {
    principalId: hostPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: receiver
    description: owner
  }
}

resource operationsSender 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(operationsQueue.id, hostPrincipalId, sender)
  scope: operationsQueue
  properties: {
    principalId: hostPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: sender
    description: owner
  }
}

resource coordinationReceiver 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(coordinationQueue.id, hostPrincipalId, receiver)
  scope: coordinationQueue
  properties: {
    principalId: hostPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: receiver
    description: owner
  }
}

resource coordinationSender 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(coordinationQueue.id, hostPrincipalId, sender)
  scope: coordinationQueue
  properties: {
    principalId: hostPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: sender
    description: owner
  }
}

resource eventsSender 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(eventsTopic.id, hostPrincipalId, sender)
  scope: eventsTopic
  properties: {
    principalId: hostPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: sender
    description: owner
  }
}

// Scaling reads the length of the queue. Without this right it falls back to peeking, one instance more at a time.
resource queueReader 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(namespace.id, hostPrincipalId, queueReaderRoleId)
  scope: namespace
  properties: {
    principalId: hostPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: queueReaderRoleId
    description: owner
  }
}
