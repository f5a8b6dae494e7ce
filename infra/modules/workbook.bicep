// The workbook of the worker, in the resource group of its telemetry.

@description('Region of the workbook.')
param location string

@description('Tags of the workbook.')
param tags object

@description('Name that the workbook is shown by.')
param displayName string

@description('Resource id of the Log Analytics workspace.')
param workspaceId string

@description('Resource id of Application Insights.')
param componentId string

var template = loadTextContent('../workbook.json')

resource workbook 'Microsoft.Insights/workbooks@2023-06-01' = {
  name: guid(resourceGroup().id, 'vmss-maintenance')
  location: location
  tags: tags
  kind: 'shared'
  properties: {
    displayName: displayName
    category: 'workbook'
    version: 'Notebook/1.0'
    sourceId: toLower(workspaceId)
    serializedData: replace(replace(template, '__WORKSPACE_ID__', workspaceId), '__COMPONENT_ID__', componentId)
  }
}
