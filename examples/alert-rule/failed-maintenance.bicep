// An alert where maintenance did not succeed, without any code: a subscription forwards such events to a queue, and a
// metric alert fires while the queue is not empty. (Metrics tell queues apart, but not the subscriptions of a topic.)
// Receive and complete the messages of the queue, and the alert ends.
//
//   az deployment group create --resource-group GROUP_OF_THE_NAMESPACE --template-file failed-maintenance.bicep \
//     --parameters namespaceName=NAMESPACE actionGroupId=ID_OF_AN_ACTION_GROUP

@description('Name of the Service Bus namespace of the maintenance app.')
param namespaceName string

@description('Resource id of the action group that is told.')
param actionGroupId string

resource namespace 'Microsoft.ServiceBus/namespaces@2024-01-01' existing = {
  name: namespaceName
}

resource topic 'Microsoft.ServiceBus/namespaces/topics@2024-01-01' existing = {
  parent: namespace
  name: 'maintenance-events'
}

resource failed 'Microsoft.ServiceBus/namespaces/queues@2024-01-01' = {
  parent: namespace
  name: 'failed-maintenance'
  properties: {
    defaultMessageTimeToLive: 'P14D'
  }
}

resource subscription 'Microsoft.ServiceBus/namespaces/topics/subscriptions@2024-01-01' = {
  parent: topic
  name: 'failed-maintenance'
  properties: {
    forwardTo: failed.name
  }
}

// In place of the rule that every subscription is born with, and that lets everything through.
resource rule 'Microsoft.ServiceBus/namespaces/topics/subscriptions/rules@2024-01-01' = {
  parent: subscription
  name: '$Default'
  properties: {
    filterType: 'SqlFilter'
    sqlFilter: {
      sqlExpression: 'status IN (\'PartiallySucceeded\', \'Failed\', \'TimedOut\', \'Rejected\')'
    }
  }
}

resource alert 'Microsoft.Insights/metricAlerts@2018-03-01' = {
  name: 'failed-maintenance'
  location: 'global'
  properties: {
    description: 'Maintenance of a VM scale set did not succeed. The events are in the queue failed-maintenance.'
    severity: 2
    enabled: true
    autoMitigate: true
    scopes: [
      namespace.id
    ]
    evaluationFrequency: 'PT5M'
    windowSize: 'PT5M'
    criteria: {
      'odata.type': 'Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria'
      allOf: [
        {
          name: 'failed-maintenance'
          criterionType: 'StaticThresholdCriterion'
          metricNamespace: 'Microsoft.ServiceBus/namespaces'
          metricName: 'ActiveMessages'
          timeAggregation: 'Maximum'
          operator: 'GreaterThan'
          threshold: 0
          dimensions: [
            {
              name: 'EntityName'
              operator: 'Include'
              values: [
                failed.name
              ]
            }
          ]
        }
      ]
    }
    actions: [
      {
        actionGroupId: actionGroupId
      }
    ]
  }
}
