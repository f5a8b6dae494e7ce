// The queues, the topic, its subscriptions and their rules, as topology.json lists them.
// requiresDuplicateDetection and requiresSession cannot be changed later: an entity that exists with other values has to
// be deleted first. ForwardTo "" becomes null, since the empty string fails in the second deployment.

@description('Name of the namespace, which exists.')
param namespaceName string

@description('Names of the entities, by their names in topology.json. What is missing keeps its name.')
param entityNames object

// any(): the compiler would take the values of today, such as an empty list of rules, for all that can be there.
var document = any(loadJsonContent('../topology.json'))
var topology = document.UserConfig.Namespaces[0]
var subscriptions = flatten(map(topology.Topics, topic => map(topic.Subscriptions, subscription => {
  topic: topic.Name
  name: subscription.Name
  properties: subscription.Properties
  rules: subscription.?Rules ?? []
})))
var rules = flatten(map(subscriptions, subscription => map(subscription.rules, rule => {
  topic: subscription.topic
  subscription: subscription.name
  name: rule.Name
  properties: rule.Properties
})))
var topicNames = map(topology.Topics, topic => topic.Name)
var subscriptionPaths = map(subscriptions, subscription => '${subscription.topic}/${subscription.name}')
var filterTypes = {
  Correlation: 'CorrelationFilter'
  Sql: 'SqlFilter'
}

resource namespace 'Microsoft.ServiceBus/namespaces@2024-01-01' existing = {
  name: namespaceName
}

resource queues 'Microsoft.ServiceBus/namespaces/queues@2024-01-01' = [for queue in topology.Queues: {
  parent: namespace
  name: entityNames[?queue.Name] ?? queue.Name
  properties: {
    deadLetteringOnMessageExpiration: queue.Properties.DeadLetteringOnMessageExpiration
    defaultMessageTimeToLive: queue.Properties.DefaultMessageTimeToLive
    duplicateDetectionHistoryTimeWindow: queue.Properties.RequiresDuplicateDetection ? queue.Properties.DuplicateDetectionHistoryTimeWindow : null
    forwardDeadLetteredMessagesTo: empty(queue.Properties.ForwardDeadLetteredMessagesTo) ? null : queue.Properties.ForwardDeadLetteredMessagesTo
    forwardTo: empty(queue.Properties.ForwardTo) ? null : queue.Properties.ForwardTo
    lockDuration: queue.Properties.LockDuration
    maxDeliveryCount: queue.Properties.MaxDeliveryCount
    requiresDuplicateDetection: queue.Properties.RequiresDuplicateDetection
    requiresSession: queue.Properties.RequiresSession
  }
}]

resource topics 'Microsoft.ServiceBus/namespaces/topics@2024-01-01' = [for topic in topology.Topics: {
  parent: namespace
  name: entityNames[?topic.Name] ?? topic.Name
  properties: {
    defaultMessageTimeToLive: topic.Properties.DefaultMessageTimeToLive
    duplicateDetectionHistoryTimeWindow: topic.Properties.RequiresDuplicateDetection ? topic.Properties.DuplicateDetectionHistoryTimeWindow : null
    requiresDuplicateDetection: topic.Properties.RequiresDuplicateDetection
  }
}]

// One at a time: parallel writes to one topic can end with 409.
@batchSize(1)
resource topicSubscriptions 'Microsoft.ServiceBus/namespaces/topics/subscriptions@2024-01-01' = [for subscription in subscriptions: {
  parent: topics[indexOf(topicNames, subscription.topic)]
  name: subscription.name
  properties: {
    deadLetteringOnMessageExpiration: subscription.properties.DeadLetteringOnMessageExpiration
    defaultMessageTimeToLive: subscription.properties.DefaultMessageTimeToLive
    forwardDeadLetteredMessagesTo: empty(subscription.properties.ForwardDeadLetteredMessagesTo) ? null : subscription.properties.ForwardDeadLetteredMessagesTo
    forwardTo: empty(subscription.properties.ForwardTo) ? null : subscription.properties.ForwardTo
    lockDuration: subscription.properties.LockDuration
    maxDeliveryCount: subscription.properties.MaxDeliveryCount
    requiresSession: subscription.properties.RequiresSession
  }
}]

@batchSize(1)
resource subscriptionRules 'Microsoft.ServiceBus/namespaces/topics/subscriptions/rules@2024-01-01' = [for rule in rules: {
  parent: topicSubscriptions[indexOf(subscriptionPaths, '${rule.topic}/${rule.subscription}')]
  name: rule.name
  properties: {
    filterType: filterTypes[rule.properties.FilterType]
    correlationFilter: rule.properties.FilterType == 'Correlation' ? {
      contentType: rule.properties.CorrelationFilter.?ContentType
      correlationId: rule.properties.CorrelationFilter.?CorrelationId
      label: rule.properties.CorrelationFilter.?Label
      messageId: rule.properties.CorrelationFilter.?MessageId
      replyTo: rule.properties.CorrelationFilter.?ReplyTo
      replyToSessionId: rule.properties.CorrelationFilter.?ReplyToSessionId
      sessionId: rule.properties.CorrelationFilter.?SessionId
      to: rule.properties.CorrelationFilter.?To
      properties: rule.properties.CorrelationFilter.?Properties
    } : null
    sqlFilter: rule.properties.FilterType == 'Sql' ? {
      sqlExpression: rule.properties.SqlFilter.SqlExpression
    } : null
    action: empty(rule.properties.?Action) ? null : {
      sqlExpression: rule.properties.Action.SqlExpression
    }
  }
}]

@description('Name of the namespace.')
output namespaceName string = namespace.name

@description('Resource id of the namespace.')
output namespaceId string = namespace.id

@description('Host name of the namespace.')
output hostName string = split(replace(namespace.properties.serviceBusEndpoint, 'https://', ''), ':')[0]

@description('Names of all queues and topics.')
output names array = concat(map(topology.Queues, queue => entityNames[?queue.Name] ?? queue.Name), map(topology.Topics, topic => entityNames[?topic.Name] ?? topic.Name))
