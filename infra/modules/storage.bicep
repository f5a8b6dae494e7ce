// The storage account of the Functions host: host keys, timer locks and the deployed package. No shared keys.

@description('Region of the account.')
param location string

@description('Tags of the account.')
param tags object

@description('Name of the account.')
param accountName string

@description('Name of the container that holds the deployed package.')
param containerName string

@description('Whether the account can be reached from public networks.')
@allowed([
  'Enabled'
  'Disabled'
])
param publicNetworkAccess string

@description('Principal id of the identity of the app.')
param hostPrincipalId string

@description('Whether to assign the roles; false where an administrator does it.')
param assignRoles bool

@description('Text that marks role assignments of this environment, for its removal.')
param owner string

// Storage Blob Data Owner: host keys, timer locks, the package.
var blobDataOwner = 'b7e6dc6d-f1e8-4753-8033-0f276bb0955b'
// Storage Table Data Contributor: the diagnostic events of the host.
var tableDataContributor = '0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3'

resource account 'Microsoft.Storage/storageAccounts@2024-01-01' = {
  name: accountName
  location: location
  tags: tags
  kind: 'StorageV2'
  sku: {
    name: 'Standard_LRS'
  }
  properties: {
    allowBlobPublicAccess: false
    allowCrossTenantReplication: false
    allowSharedKeyAccess: false
    defaultToOAuthAuthentication: true
    minimumTlsVersion: 'TLS1_2'
    supportsHttpsTrafficOnly: true
    publicNetworkAccess: publicNetworkAccess
    networkAcls: {
      bypass: 'AzureServices'
      defaultAction: publicNetworkAccess == 'Enabled' ? 'Allow' : 'Deny'
    }
  }
}

resource blobs 'Microsoft.Storage/storageAccounts/blobServices@2024-01-01' = {
  parent: account
  name: 'default'
}

resource container 'Microsoft.Storage/storageAccounts/blobServices/containers@2024-01-01' = {
  parent: blobs
  name: containerName
  properties: {
    publicAccess: 'None'
  }
}

resource blobOwner 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (assignRoles) {
  name: guid(account.id, hostPrincipalId, blobDataOwner)
  scope: account
  properties: {
    principalId: hostPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', blobDataOwner)
    description: owner
  }
}

resource tableContributor 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (assignRoles) {
  name: guid(account.id, hostPrincipalId, tableDataContributor)
  scope: account
  properties: {
    principalId: hostPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', tableDataContributor)
    description: owner
  }
}

@description('Resource id of the account.')
output id string = account.id

@description('URL of the blob service, with a slash at its end.')
output blobEndpoint string = account.properties.primaryEndpoints.blob

@description('URL of the queue service, with a slash at its end.')
output queueEndpoint string = account.properties.primaryEndpoints.queue

@description('URL of the table service, with a slash at its end.')
output tableEndpoint string = account.properties.primaryEndpoints.table

@description('URL of the container that holds the deployed package.')
output containerUrl string = '${account.properties.primaryEndpoints.blob}${container.name}'
