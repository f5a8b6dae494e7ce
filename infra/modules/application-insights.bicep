// Application Insights that takes telemetry by Entra alone, and the right of the app to send it.

@description('Region of the component.')
param location string

@description('Tags of the component.')
param tags object

@description('Name of the component.')
param componentName string

@description('Resource id of the Log Analytics workspace that keeps the telemetry.')
param workspaceId string

@description('Principal id of the identity that sends telemetry.')
param hostPrincipalId string

@description('Whether to assign the role; false where an administrator does it.')
param assignRoles bool

@description('Text that marks role assignments of this environment, for its removal.')
param owner string

// Monitoring Metrics Publisher: sends telemetry, reads nothing.
var metricsPublisher = '3913510d-42f4-4e42-8a64-420c390055eb'

resource component 'Microsoft.Insights/components@2020-02-02' = {
  name: componentName
  location: location
  tags: tags
  kind: 'web'
  properties: {
    Application_Type: 'web'
    WorkspaceResourceId: workspaceId
    DisableLocalAuth: true
  }
}

resource publisher 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (assignRoles) {
  name: guid(component.id, hostPrincipalId, metricsPublisher)
  scope: component
  properties: {
    principalId: hostPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', metricsPublisher)
    description: owner
  }
}

@description('Resource id of the component.')
output id string = component.id

@description('Connection string of the component. No secret: keys are not accepted.')
output connectionString string = component.properties.ConnectionString
