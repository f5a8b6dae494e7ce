// Whom the alerts about the worker itself go to. Never the worker: an alert about it must not start maintenance.

@description('Tags of the action group.')
param tags object

@description('Name of the action group.')
param actionGroupName string

@description('E-mail address of the operators.')
param emailAddress string

resource actionGroup 'Microsoft.Insights/actionGroups@2023-01-01' = {
  name: actionGroupName
  location: 'Global'
  tags: tags
  properties: {
    enabled: true
    groupShortName: 'vmss-ops'
    emailReceivers: [
      {
        name: 'operators'
        emailAddress: emailAddress
        useCommonAlertSchema: true
      }
    ]
  }
}

@description('Resource id of the action group.')
output id string = actionGroup.id
