// The Log Analytics workspace that keeps the telemetry.

@description('Region of the workspace.')
param location string

@description('Tags of the workspace.')
param tags object

@description('Name of the workspace.')
param workspaceName string

@description('Days that telemetry is kept.')
param retentionInDays int

resource workspace 'Microsoft.OperationalInsights/workspaces@2023-09-01' = {
  name: workspaceName
  location: location
  tags: tags
  properties: {
    sku: {
      name: 'PerGB2018'
    }
    retentionInDays: retentionInDays
    features: {
      disableLocalAuth: true
    }
  }
}

@description('Resource id of the workspace.')
output id string = workspace.id
