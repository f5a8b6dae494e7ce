// A Service Bus namespace that takes no keys.

@description('Region of the namespace.')
param location string

@description('Tags of the namespace.')
param tags object

@description('Name of the namespace.')
param namespaceName string

@description('Tier of the namespace. Basic has no topics and no scheduled messages.')
@allowed([
  'Standard'
  'Premium'
])
param sku string

@description('Whether the namespace can be reached from public networks. Private endpoints need Premium.')
@allowed([
  'Enabled'
  'Disabled'
])
param publicNetworkAccess string

resource namespace 'Microsoft.ServiceBus/namespaces@2024-01-01' = {
  name: namespaceName
  location: location
  tags: tags
  sku: {
    name: sku
    tier: sku
    capacity: sku == 'Premium' ? 1 : null
  }
  properties: {
    disableLocalAuth: true
    minimumTlsVersion: '1.2'
    publicNetworkAccess: publicNetworkAccess
  }
}

@description('Name of the namespace.')
output name string = namespace.name
