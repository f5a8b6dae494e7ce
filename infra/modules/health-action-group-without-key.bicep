// Sends alerts of Azure Service Health to receive_alert with a token of Entra. There is no key.

@description('Tags of the action group.')
param tags object

@description('Name of the action group.')
param actionGroupName string

@description('Name of the function app.')
param functionAppName string

@description('Object id of the app registration that alerts sign in to.')
param alertObjectId string

@description('Identifier URI of the app registration, such as api://<client id>.')
param alertIdentifierUri string

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
    webhookReceivers: [
      {
        name: 'worker'
        serviceUri: 'https://${site.properties.defaultHostName}/api/alerts'
        useCommonAlertSchema: true
        useAadAuth: true
        objectId: alertObjectId
        identifierUri: alertIdentifierUri
        tenantId: tenant().tenantId
      }
    ]
  }
}

@description('Resource id of the action group.')
output id string = actionGroup.id
