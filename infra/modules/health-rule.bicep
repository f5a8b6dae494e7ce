// Fires when Azure Service Health announces planned maintenance of VMs to this subscription.

@description('Tags of the rule.')
param tags object

@description('Name of the rule.')
param ruleName string

@description('Resource id of the action group that gets the alert. It may be in another subscription.')
param actionGroupId string

@description('Services of Azure whose planned maintenance counts.')
param services array

resource rule 'Microsoft.Insights/activityLogAlerts@2020-10-01' = {
  name: ruleName
  location: 'Global'
  tags: tags
  properties: {
    description: 'Planned maintenance of VMs, announced by Azure Service Health.'
    enabled: true
    // A rule sees the subscription that it lives in, and no other.
    scopes: [
      subscription().id
    ]
    condition: {
      allOf: [
        {
          field: 'category'
          equals: 'ServiceHealth'
        }
        {
          field: 'properties.incidentType'
          equals: 'Maintenance'
        }
        {
          field: 'properties.impactedServices[*].ServiceName'
          containsAny: services
        }
      ]
    }
    actions: {
      actionGroups: [
        {
          actionGroupId: actionGroupId
        }
      ]
    }
  }
}
