// Two identities: one for the app itself (storage, Service Bus, telemetry), one for Resource Manager alone.

@description('Region of the identities.')
param location string

@description('Tags of the identities.')
param tags object

@description('Name of the identity that the app uses for storage, Service Bus and telemetry.')
param hostIdentityName string

@description('Name of the identity that the app uses for Resource Manager, and for nothing else.')
param maintainerIdentityName string

resource host 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = {
  name: hostIdentityName
  location: location
  tags: tags
}

resource maintainer 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = {
  name: maintainerIdentityName
  location: location
  tags: tags
}

@description('Resource id of the identity of the app.')
output hostId string = host.id

@description('Client id of the identity of the app.')
output hostClientId string = host.properties.clientId

@description('Principal id of the identity of the app.')
output hostPrincipalId string = host.properties.principalId

@description('Resource id of the identity for Resource Manager.')
output maintainerId string = maintainer.id

@description('Client id of the identity for Resource Manager.')
output maintainerClientId string = maintainer.properties.clientId

@description('Principal id of the identity for Resource Manager.')
output maintainerPrincipalId string = maintainer.properties.principalId
