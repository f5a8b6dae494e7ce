// Sends alerts of Azure Service Health to receive_alert with its function key.
// Deployed after the code: before that the function has no key. The key stands in the action group and nowhere else.

@description('Tags of the action group.')
param tags object

@description('Name of the action group.')
param actionGroupName string

@description('Name of the function app.')
param functionAppName string

resource site 'Microsoft.Web/sites@2024-11-01' existing = {
  name: functionAppName
}

resource actionGroup 'Microsoft.Insights/actionGroups@2023-01-01' = {
  name: actionGroupName
  location: 'Global'
  tags: tags
  properties: {
    enabled: true
    groupShortName: 'vmss-maint'
    azureFunctionReceivers: [
      {
        name: 'worker'
        functionAppResourceId: site.id
        functionName: 'receive_alert'
        httpTriggerUrl: 'https://${site.properties.defaultHostName}/api/alerts?code=${listKeys('${site.id}/functions/receive_alert', '2024-11-01').default}'
        useCommonAlertSchema: true
      }
    ]
  }
}

@description('Resource id of the action group.')
output id string = actionGroup.id
