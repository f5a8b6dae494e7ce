// Alerts about the worker itself, for the people who run it.

@description('Region of the log alerts.')
param location string

@description('Tags of the alerts.')
param tags object

@description('First part of the names of the alerts.')
param namePrefix string

@description('Resource id of the action group that is notified.')
param actionGroupId string

@description('Resource id of the Service Bus namespace.')
param namespaceId string

@description('Names of the queues and topics to watch for dead letters.')
param entityNames array

@description('Name of the queue that requests come in by.')
param requestsQueueName string

@description('Resource id of the Log Analytics workspace.')
param workspaceId string

@description('Resource id of Application Insights.')
param componentId string

resource deadLetters 'Microsoft.Insights/metricAlerts@2018-03-01' = {
  name: '${namePrefix}dead-letters'
  location: 'global'
  tags: tags
  properties: {
    description: 'A queue or topic has dead letters. read_dead_letters turns those of requests and operations into events; see docs/reliability.md.'
    severity: 2
    enabled: true
    autoMitigate: true
    scopes: [
      namespaceId
    ]
    evaluationFrequency: 'PT5M'
    windowSize: 'PT15M'
    criteria: {
      'odata.type': 'Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria'
      allOf: [
        {
          name: 'dead-letters'
          criterionType: 'StaticThresholdCriterion'
          metricNamespace: 'Microsoft.ServiceBus/namespaces'
          metricName: 'DeadletteredMessages'
          timeAggregation: 'Average'
          operator: 'GreaterThan'
          threshold: 0
          dimensions: [
            {
              name: 'EntityName'
              operator: 'Include'
              values: entityNames
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

// The lowest count of each minute: above zero for the whole window means that the queue never became empty.
resource waitingRequests 'Microsoft.Insights/metricAlerts@2018-03-01' = {
  name: '${namePrefix}waiting-requests'
  location: 'global'
  tags: tags
  properties: {
    description: 'Requests waited for more than 10 minutes in a row. The trigger does not run, or cannot keep up.'
    severity: 2
    enabled: true
    autoMitigate: true
    scopes: [
      namespaceId
    ]
    evaluationFrequency: 'PT5M'
    windowSize: 'PT15M'
    criteria: {
      'odata.type': 'Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria'
      allOf: [
        {
          name: 'waiting-requests'
          criterionType: 'StaticThresholdCriterion'
          metricNamespace: 'Microsoft.ServiceBus/namespaces'
          metricName: 'ActiveMessages'
          timeAggregation: 'Minimum'
          operator: 'GreaterThan'
          threshold: 0
          dimensions: [
            {
              name: 'EntityName'
              operator: 'Include'
              values: [
                requestsQueueName
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

// Operations that wait are scheduled, so no metric says that one is overdue. A timer that does not run is a fault by
// itself. A log alert also sees that nothing came at all.
resource noTick 'Microsoft.Insights/scheduledQueryRules@2023-12-01' = {
  name: '${namePrefix}no-tick'
  location: location
  tags: tags
  kind: 'LogAlert'
  properties: {
    displayName: '${namePrefix}no-tick'
    description: 'poll_operations did not run for 15 minutes. Operations that wait are not looked at.'
    severity: 1
    enabled: true
    autoMitigate: true
    skipQueryValidation: true
    scopes: [
      workspaceId
    ]
    evaluationFrequency: 'PT5M'
    windowSize: 'PT15M'
    criteria: {
      allOf: [
        {
          query: replace(loadTextContent('../queries/no-tick.kql'), '{componentId}', componentId)
          timeAggregation: 'Count'
          operator: 'LessThan'
          threshold: 1
          failingPeriods: {
            numberOfEvaluationPeriods: 1
            minFailingPeriodsToAlert: 1
          }
        }
      ]
    }
    actions: {
      actionGroups: [
        actionGroupId
      ]
    }
  }
}

// The words are those of the worker's log line: Request … ended as Failed on …, Request … ended as TimedOut on …
resource failedRequests 'Microsoft.Insights/scheduledQueryRules@2023-12-01' = {
  name: '${namePrefix}failed-requests'
  location: location
  tags: tags
  kind: 'LogAlert'
  properties: {
    displayName: '${namePrefix}failed-requests'
    description: 'A request ended as Failed or TimedOut. Its event lists what became of each instance.'
    severity: 2
    enabled: true
    autoMitigate: true
    skipQueryValidation: true
    scopes: [
      workspaceId
    ]
    evaluationFrequency: 'PT5M'
    windowSize: 'PT15M'
    criteria: {
      allOf: [
        {
          query: replace(loadTextContent('../queries/failed-requests.kql'), '{componentId}', componentId)
          timeAggregation: 'Count'
          operator: 'GreaterThan'
          threshold: 0
          failingPeriods: {
            numberOfEvaluationPeriods: 1
            minFailingPeriodsToAlert: 1
          }
        }
      ]
    }
    actions: {
      actionGroups: [
        actionGroupId
      ]
    }
  }
}
