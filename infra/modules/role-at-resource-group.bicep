// Assigns one role on a resource group, which exists.

@description('Principal id of the identity that gets the role.')
param principalId string

@description('Resource id of the role.')
param roleDefinitionId string

@description('Text that marks role assignments of this environment, for its removal.')
param owner string

resource assignment 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(resourceGroup().id, principalId, roleDefinitionId)
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: roleDefinitionId
    description: owner
  }
}
