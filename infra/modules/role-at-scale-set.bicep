// Assigns one role on a VM scale set, which exists.

@description('Name of the scale set.')
param scaleSetName string

@description('Principal id of the identity that gets the role.')
param principalId string

@description('Resource id of the role.')
param roleDefinitionId string

@description('Text that marks role assignments of this environment, for its removal.')
param owner string

resource scaleSet 'Microsoft.Compute/virtualMachineScaleSets@2024-07-01' existing = {
  name: scaleSetName
}

resource assignment 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(scaleSet.id, principalId, roleDefinitionId)
  scope: scaleSet
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: roleDefinitionId
    description: owner
  }
}
